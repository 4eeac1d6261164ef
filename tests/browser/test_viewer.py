"""The viewer as a reader uses it: search, filter, sort, look at a sample, send a link."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from encodeonce.harness.viewer.answers import read_answers
from encodeonce.harness.viewer.chunks import Chunks
from encodeonce.harness.viewer.export import export
from encodeonce.harness.viewer.media import Media
from encodeonce.harness.viewer.server import make_server
from encodeonce.models.kv.spec import FULL, KVSpec
from tests.browser.conftest import LAPTOP, PHONE, SPLIT_WORDS, expect
from tests.harness.runs import a_record, write_run
from tests.harness.viewer.runs import HALF, HOSTILE, demo_records, demo_run, hostile_records

Opened = Callable[..., Any]
ROWS = "#space [role=row]:not([hidden])"
SNAPKV = f"none/{HALF.title}"


@contextmanager
def served(*folders: Path) -> Iterator[str]:
    """Serve runs while a page is open."""
    answers = read_answers(folders)
    with make_server(Chunks(answers), Media(answers), 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()
        thread.join()


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    with served(demo_run(tmp_path / "run").path) as found:
        yield found


@pytest.fixture
def exported(tmp_path: Path) -> str:
    answers = read_answers([demo_run(tmp_path / "run").path])
    return export(Chunks(answers), Media(answers), tmp_path / "page").page.as_uri()


def shown(page: Any) -> str:
    return str(page.inner_text("#summary"))


def expect_rows(page: Any, count: int) -> None:
    expect(page.locator(ROWS)).to_have_count(count)


def detail(page: Any) -> str:
    page.wait_for_selector("#detail .target")
    return str(page.inner_text("#detail"))


@pytest.mark.parametrize("viewport", [LAPTOP, PHONE], ids=["laptop", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("kind", ["served", "exported"])
def test_a_sample_is_found_and_looked_at(
    kind: str, viewport: Any, scheme: str, page_of: Opened, request: pytest.FixtureRequest
) -> None:
    address = request.getfixturevalue("address" if kind == "served" else "exported")
    page = page_of(address, viewport, scheme)
    page.wait_for_selector(ROWS)
    page.fill("[name=q]", "HELDOUT-00-LIST")
    expect_rows(page, 1)
    page.click(f"{ROWS} >> nth=0")
    text = detail(page)
    assert "right answer" in text and "full cache" in text and "SnapKV 50 %" in text
    assert "sample=heldout-00-list" in page.url and "variant=none" in page.url
    page.wait_for_selector("#detail img")
    assert page.evaluate("document.querySelector('#detail img').naturalWidth") > 50
    colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert colour == ("rgb(255, 255, 255)" if scheme == "light" else "rgb(20, 23, 27)")
    assert page.is_visible("#list") == (viewport is LAPTOP)
    wide = "document.documentElement.scrollWidth <= innerWidth"
    assert page.evaluate(wide), "the page is wider than the screen"
    page.click("text=close")
    assert page.is_visible("#list") and not page.is_visible("#detail")
    assert "sample=" not in page.url


def test_flips_are_filtered_and_marked(address: str, page_of: Opened) -> None:
    page = page_of(address)
    page.wait_for_selector(ROWS)
    assert "8 of 12 right (66.7 %)" in shown(page)
    assert "4 lost, 0 gained against full cache" in shown(page)
    page.select_option("[name=result]", label="right, then lost")
    expect_rows(page, 4)
    assert page.inner_text(f"{ROWS} >> nth=0").count("lost") == 1
    page.click(f"{ROWS} >> nth=0")
    assert "✗ wrong" in detail(page) and "✓ right" in detail(page)
    assert page.inner_text(f"[data-variant='{SNAPKV}'] .flip").strip() == "lost"
    page.select_option("[name=variant]", label="full cache")
    page.select_option("[name=against]", label="SnapKV 50 %, after the question")
    page.select_option("[name=result]", label="wrong, then gained")
    expect_rows(page, 4)


def test_tags_and_answers_are_searched(address: str, page_of: Opened) -> None:
    page = page_of(address)
    page.wait_for_selector(ROWS)
    page.select_option("[name=tag]", label="kind: list")
    expect_rows(page, 2)
    page.select_option("[name=tag]", label="all")
    expect_rows(page, 12)
    page.fill("[name=q]", "not ")
    expect_rows(page, 0)
    page.check("[name=deep]")
    expect_rows(page, 4)


def test_every_column_sorts_both_ways(address: str, page_of: Opened) -> None:
    page = page_of(address)
    page.wait_for_selector(ROWS)
    for name, title in (("sample", "sample"), ("target", "right answer"), ("result", "result")):
        orders = []
        for order in ("ascending", "descending"):
            page.click(f"#heads >> text='{title}'")
            page.wait_for_selector(f"#heads .col-{name}[aria-sort={order}]")
            orders.append(page.locator(f"{ROWS} .col-{name}").all_inner_texts())
        assert sorted(orders[0]) == sorted(orders[1]) and orders[0] != orders[1], name
        if name == "sample":
            assert orders[0] == sorted(orders[0])
            assert orders[1] == orders[0][::-1]
        page.click(f"#heads >> text='{title}'")  # as the run has them


def test_a_link_shows_the_same_again(address: str, page_of: Opened) -> None:
    page = page_of(f"{address}#sample=heldout-01-list&variant=none/full&result=right&sort=-sample")
    assert "heldout-01-list" in detail(page)
    assert page.locator("tr.chosen").get_attribute("data-variant") == "none/full"
    assert page.input_value("[name=result]") == "right"
    assert page.get_attribute("#heads .col-sample", "aria-sort") == "descending"
    page.click("[aria-label='next sample']")
    other = page_of(page.url)
    assert detail(other) == detail(page)


def test_an_id_with_a_plus_sign_may_be_written_as_it_is(tmp_path: Path, page_of: Opened) -> None:
    int8 = KVSpec(method="full", precision="int8")
    records = [a_record("x y", variant=name) for name in ("none/full", f"none/{int8.title}")]
    assert int8.title == "full+int8"
    with served(write_run(tmp_path / "run", records, kv=[FULL, int8]).path) as address:
        page = page_of(f"{address}#sample=x y&variant=none/full+int8")
        detail(page)
        assert page.locator("tr.chosen").get_attribute("data-variant") == "none/full+int8"
        page.click("text=close")
        page.click(f"{ROWS} >> nth=0")
        assert page.url.endswith("#sample=x%20y&variant=none%2Ffull%2Bint8")
        assert page.is_hidden("#notice")


def test_back_closes_a_sample(address: str, page_of: Opened) -> None:
    page = page_of(address, PHONE)
    page.click(f"{ROWS} >> nth=2")
    detail(page)
    page.go_back()
    page.wait_for_selector("#detail", state="hidden")
    assert page.is_visible("#list")


def test_a_link_to_what_is_not_there_says_so(address: str, page_of: Opened) -> None:
    page = page_of(f"{address}#sample=none-such&variant=none/x")
    page.wait_for_selector("#notice:not([hidden])")
    expect(page.locator("#notice")).to_contain_text("none-such")
    assert page.is_visible(ROWS)


def test_the_keyboard_is_enough(address: str, page_of: Opened) -> None:
    page = page_of(address)
    page.wait_for_selector(ROWS)
    page.focus("#list")
    for key in ("ArrowDown", "ArrowDown", "Enter"):
        page.keyboard.press(key)
    third = page.locator(f"{ROWS} .col-sample").nth(2).inner_text()
    assert third in detail(page)
    page.keyboard.press("ArrowRight")
    expect(page.locator("#detail .where")).not_to_contain_text(third)
    page.keyboard.press("Escape")
    page.wait_for_selector("#detail", state="hidden")


def test_two_runs_stand_side_by_side(tmp_path: Path, page_of: Opened) -> None:
    first = write_run(tmp_path / "a", demo_records("none/full", 6))
    worse = [
        a_record(r.sample, 0.0, benchmark="demo", question=r.question, target=r.target, text="no")
        for r in demo_records("none/full", 6)[:2]
    ]
    second = write_run(tmp_path / "b", worse)
    with served(first.path, second.path) as address:
        page = page_of(address)
        page.wait_for_selector(ROWS)
        assert "2 lost, 0 gained against A: full cache" in shown(page)
        page.select_option("[name=result]", label="right, then lost")
        expect_rows(page, 2)
        page.click(f"{ROWS} >> nth=0")
        assert "A: a" in detail(page) and "B: b" in detail(page)
        cells = page.locator("[data-variant='none/full'] td").all_inner_texts()
        assert len(cells) == 2 and "right" in cells[0] and "no ✗ wrong lost" in cells[1]
        assert "variant=B%3Anone%2Ffull" in page.url


def test_the_clip_plays_from_the_server(address: str, page_of: Opened) -> None:
    page = page_of(f"{address}#sample=heldout-00-list")
    page.click("text=play the clip")
    for _ in range(100):
        if page.evaluate("document.querySelector('video')?.videoWidth > 0"):
            return
        page.wait_for_timeout(100)
    raise AssertionError("the clip does not play")


def test_what_others_wrote_is_only_text(tmp_path: Path, page_of: Opened) -> None:
    with served(write_run(tmp_path / "run", hostile_records()).path) as address:
        page = page_of(address)
        page.click(f"{ROWS} >> nth=0")
        text = detail(page)
        assert "</script><script>document.title='owned'</script><img src=x" in text
        assert page.evaluate("document.querySelectorAll('#detail script, #detail img').length") == 0
        assert "owned" not in page.title()
        assert HOSTILE[:20] in page.inner_text(f"{ROWS} >> nth=0")


def test_no_word_is_split_on_a_phone(address: str, page_of: Opened) -> None:
    page = page_of(f"{address}#sample=heldout-00-list", PHONE)
    detail(page)
    assert page.evaluate(SPLIT_WORDS) == []
