"""The report as a page: its numbers are those of its JSON, and any text stays mere text."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from encodeonce.harness.report import html
from encodeonce.harness.report.html import report_page
from encodeonce.harness.report.names import Names
from encodeonce.harness.report.summary import sections
from encodeonce.harness.report.thumbnails import Preview, Strip, Thumbnail
from encodeonce.harness.results.run_summary import summarize_run
from encodeonce.harness.results.summary import Summary
from encodeonce.harness.run.record import CacheUse, Record, SampleError
from encodeonce.harness.run.variant import Variant
from encodeonce.models.answer import KVUse
from encodeonce.models.kv.spec import FULL, KVSpec
from encodeonce.models.spec import NONE, WeightsSpec
from tests.harness.runs import a_record, write_run

KV = [FULL, KVSpec(method="snapkv", keep=0.5), KVSpec(method="snapkv", keep=0.25)]
INT4 = WeightsSpec(method="bnb-nf4")
HOSTILE = '</script><script>alert(1)</script><img src=x onerror="alert(2)">&\x1b'
ESCAPES = f"{HOSTILE}\"' onload='alert(3)<!--{{{{ 7*7 }}}}{{% raw %}}{{# "
ENDS = ("mean", "low", "high")
TEMPLATES = Path(html.__file__).parent / "templates"


class Page(HTMLParser):
    """The content of a page, read back."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        """Text directly in each kind of tag, in order."""
        self.rows: list[list[str]] = []
        self.tables: list[list[list[str]]] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "wbr":  # where a line may break, in the middle of any text
            return
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "input"):
            self._open.append(tag)
            self.texts.setdefault(tag, []).append("")
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.rows.append([])
            self.tables[-1].append(self.rows[-1])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag, f"{tag} is not closed where it should be"

    def handle_data(self, data: str) -> None:
        if self._open:
            self.texts[self._open[-1]][-1] += data
            if self._open[-1] in ("td", "th"):
                self.rows[-1][-1] += data

    @property
    def data(self) -> Summary:
        found: Summary = json.loads(self.texts["script"][0])
        return found

    def table(self, caption: str) -> list[list[str]]:
        """Return the rows of the one table with a caption that begins so."""
        (number,) = [n for n, text in enumerate(self.texts["caption"]) if text.startswith(caption)]
        return self.tables[number]

    def notes(self, pattern: str) -> list[tuple[str, ...]]:
        """Return the matched groups of the notes in drawings."""
        matches = (re.fullmatch(pattern, text) for text in self.texts.get("title", []))
        return [match.groups() for match in matches if match]


def records() -> list[Record]:
    """Return 2 x 3 variants of 8 samples on 4 videos; the tighter, the more is lost."""
    found = []
    for row, weights in enumerate((NONE, INT4)):
        for column, kv in enumerate(KV):
            for number in range(8):
                kept = int(1000 * kv.keep)
                is_right = number >= row + 2 * column
                found.append(
                    a_record(
                        f"{'abcd'[number // 2]}{number}",
                        float(is_right),
                        variant=f"{weights.title}/{kv.title}",
                        kv=None if kv.is_full else use(kept),
                        seconds={"read": 0.1, "generate": 0.25 * (1 + column)},
                        num_generated_tokens=5,
                        cache=CacheUse(num_units=8, num_hits=number),
                        finished_at=f"2026-11-21T09:0{row}:{10 * column + number:02}.000+00:00",
                    )
                )
    return found


def use(kept: int) -> KVUse:
    return KVUse(
        full_bytes=1000 * 2**20,
        kept_bytes=kept * 2**20,
        kept_visual_bytes=0,
        full_visual_bytes=0,
        full_end_bytes=1000 * 2**20,
        end_bytes=kept * 2**20,
        keep_by_layer=(kept / 1000,),
    )


def matrix(tmp_path: Path) -> tuple[Summary, Page]:
    answers = records()
    slower = [a_record(r.sample, r.score, seconds={"decode": 2.0}) for r in answers[:8]]
    folder = write_run(tmp_path / "run", answers, uncached=slower, weights=[NONE, INT4], kv=KV)
    summary = summarize_run(folder)
    return summary, Page(report_page("run", summary, {}))


def test_the_page_carries_the_summary(tmp_path: Path) -> None:
    summary, page = matrix(tmp_path)
    assert page.data == json.loads(json.dumps(summary))


def test_the_figures_on_top_are_those_of_the_json(tmp_path: Path) -> None:
    _, page = matrix(tmp_path)
    data = page.data
    accuracy = data["evaluation"]["benchmarks"]["b"]["accuracy"]["mean"]
    hit_rate = data["evaluation"]["hit_rate"]
    speedup = data["uncached"]["seconds_per_answer"] / data["evaluation"]["seconds_per_answer"]
    same = f"{data['comparison']['num_same_text']} of {data['comparison']['num_with_text']}"
    assert page.texts["strong"] == [
        f"{100 * accuracy:.1f} %",
        f"{100 * hit_rate:.0f} %",
        same,
        f"{speedup:.1f} times",
    ]


def test_every_cell_and_point_is_that_of_the_json(tmp_path: Path) -> None:
    _, page = matrix(tmp_path)
    variants = page.data["variants"]["variants"]
    assert len(variants) == 6
    names = Names.of(page.data)
    table = page.table("Weights and caches on b")
    assert table[0] == ["score, %", *(names.weights(one) for one in ("none", "bnb-nf4"))]
    cells = {
        (row[0], weights): text
        for row in table[1:]
        for weights, text in zip(table[0][1:], row[1:], strict=True)
    }
    assert cells == {
        (
            names.kv(one["kv"]),
            names.weights(one["weights"]),
        ): f"{100 * one['benchmarks']['b']['accuracy']['mean']:.1f}"
        for one in variants.values()
    }
    rows = page.notes(r"([^:]+): ([+-]\d+\.\d) \(([+-]\S+) to ([+-]\S+)\)")
    assert sorted(rows) == sorted(
        (
            names.parts(Variant.parse(name))[0],
            *(f"{100 * one['benchmarks']['b']['against']['none/full'][k]:+.1f}" for k in ENDS),
        )
        for name, one in variants.items()
        if name != "none/full"
    )
    points = page.notes(r"[^:]+: accuracy, % = (\S+) at (\S+) (MiB|tokens/s) \((\S+)\)")
    by_bytes, by_speed = {}, {}
    for y, x, unit, name in points:
        cell = variants[name]["benchmarks"]["b"]
        assert float(y) == pytest.approx(100 * cell["accuracy"]["mean"], rel=1e-3)
        kept = cell["kv"] or {"kept_bytes": 8 * 1000 * 2**20, "num_answers": 8}
        if unit == "tokens/s":
            by_speed[name] = float(x)
        else:
            by_bytes[name] = float(x) * 2**20
            assert by_bytes[name] == pytest.approx(kept["kept_bytes"] / kept["num_answers"], 1e-3)
    assert set(by_bytes) == set(variants)
    # Compressed caches are decoded as one batch: none has a speed of its own.
    assert by_speed == {
        name: pytest.approx(variants[name]["benchmarks"]["b"]["decode_tokens_per_s"], rel=1e-3)
        for name in ("none/full", "bnb-nf4/full")
    }


def test_every_bar_and_hit_rate_is_that_of_the_json(tmp_path: Path) -> None:
    _, page = matrix(tmp_path)
    data = page.data
    for name, way in (("plain transformers", "uncached"), ("from the store", "evaluation")):
        stage = data[way]
        shown = {part: float(ms) for part, ms in page.notes(rf"{name}, ([a-z ]+): (\S+)")}
        assert shown == {
            part: pytest.approx(1000 * seconds, rel=1e-2)
            for part, seconds in stage["stage_seconds_per_answer"].items()
        }
    for name, weights in data["variants"]["weights"].items():
        called = f"{Names.of(data).weights(name)}: shared by 3 caches"
        bars = page.notes(rf"{re.escape(called)}, ([a-z ]+): (\S+)")
        assert {part: float(seconds) for part, seconds in bars} == {
            part: pytest.approx(weights["seconds"][part], rel=1e-2)
            for part in weights["shared_stages"]
        }
    for name, variant in data["variants"]["variants"].items():
        called = Names.of(data).variant(Variant.parse(name))
        shared = data["variants"]["weights"][variant["weights"]]["shared_stages"]
        bars = page.notes(rf"{re.escape(called)}, ([a-z ]+): (\S+)")
        assert {part: float(seconds) for part, seconds in bars} == {
            part: pytest.approx(seconds, rel=1e-2)
            for part, seconds in variant["benchmarks"]["b"]["seconds"].items()
            if part not in shared
        }
    hits = [(int(a), int(b)) for a, b in page.notes(r"(\d+) of (\d+) units")]
    parts = data["timeline"]["evaluate"]["parts"]
    assert hits == [(part["num_hits"], part["num_units"]) for part in parts]


def test_the_page_opens_with_the_result(tmp_path: Path) -> None:
    _, page = matrix(tmp_path)
    assert page.texts["h2"][:2] == ["Result", "Run"]
    assert page.texts["h3"][:2] == [
        "b: difference to full cache",
        "b, original weights: quality against KV bytes",
    ]
    assert not [title for title in page.texts["h3"] if title == "b: accuracy, %"]


def test_one_variant_opens_with_its_score_by_tag(tmp_path: Path) -> None:
    answers = [
        a_record(f"a{n}", float(n > 0), tags={"kind": "count" if n < 3 else "place"})
        for n in range(6)
    ]
    page = Page(report_page("run", summarize_run(write_run(tmp_path / "run", answers)), {}))
    found = {name: float(mean) for name, mean, *_ in page.notes(r"(.+): (\S+) \((\S+) to (\S+)\)")}
    parts = page.data["evaluation"]["benchmarks"]["b"]["by_tag"]
    assert found["all"] == pytest.approx(100 * 5 / 6, abs=0.05)
    assert {name for name in found if name != "all"} == set(parts)


@pytest.mark.parametrize("rates", [(8, 8), (0, 8)])
def test_a_hit_rate_is_drawn_only_if_it_changes(tmp_path: Path, rates: tuple[int, int]) -> None:
    answers = [
        a_record(
            f"a{n}",
            cache=CacheUse(num_units=8, num_hits=rates[n // 8]),
            finished_at=f"2026-11-21T09:00:{n:02}.000+00:00",
        )
        for n in range(16)
    ]
    page = Page(report_page("run", summarize_run(write_run(tmp_path / "run", answers)), {}))
    drawn = [title for title in page.texts.get("h3", []) if title.startswith("Hit rate")]
    assert bool(drawn) == (rates[0] != rates[1])


def test_every_table_has_a_caption_and_every_head_a_scope(tmp_path: Path) -> None:
    _, page = matrix(tmp_path)
    tags = [tag for tag, _ in page.tags]
    assert tags.count("table") == tags.count("caption") == len(page.tables) > 5
    heads = [attributes.get("scope") for tag, attributes in page.tags if tag == "th"]
    assert set(heads) == {"col", "row"}
    assert all(page.texts["th"])


def test_tables_are_those_of_the_markdown_report(tmp_path: Path) -> None:
    summary, page = matrix(tmp_path)
    wanted = [
        [cell.strip() for cell in row]
        for section in sections(summary)
        if section.table is not None
        for row in section.table.rows
    ]
    assert wanted and all(row in page.rows for row in wanted)


def test_the_page_needs_no_network_and_runs_nothing_but_its_script(tmp_path: Path) -> None:
    summary, _ = matrix(tmp_path)
    page = Page(report_page("run", summary, {}))
    addresses = [
        value
        for _, attributes in page.tags
        for name, value in attributes.items()
        if name in ("src", "href", "action", "data", "poster", "srcset") and value
    ]
    assert all(address.startswith(("data:image/", "#")) for address in addresses)
    (policy,) = [
        a["content"] for tag, a in page.tags if a.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policy is not None and policy.startswith("default-src 'none'")
    assert "@import" not in page.texts["style"][0] and "url(" not in page.texts["style"][0]


def test_anything_a_model_or_a_user_wrote_is_only_text(tmp_path: Path) -> None:
    bad = SampleError(type="ValueError", message=HOSTILE)
    answers = [
        a_record(
            HOSTILE,
            0.0,
            text=HOSTILE,
            question=HOSTILE,
            target=HOSTILE,
            tags={HOSTILE: HOSTILE},
            benchmark=HOSTILE,
        ),
        a_record("b", None, text=None, error=bad),
    ]
    folder = write_run(tmp_path / "run", answers)
    frame = Thumbnail(jpeg_base64="", width_px=1, height_px=1, caption=HOSTILE)
    preview = Preview(strip=Strip(frames=(frame,), num_seen=1), choices=(HOSTILE,))
    text = report_page(HOSTILE, summarize_run(folder), {(HOSTILE, HOSTILE): preview})
    page = Page(text)
    assert [tag for tag, _ in page.tags].count("script") == 2
    assert [a["src"] for tag, a in page.tags if tag == "img"] == ["data:image/jpeg;base64,"]
    assert not [name for _, a in page.tags for name in a if name.startswith("on")]
    assert any("<script>alert(1)</script>" in shown for shown in page.texts["dd"])
    assert page.data["gallery"]["items"][0]["question"] == HOSTILE
    text.encode("utf-8")


def page_about(folder: Path, text: str) -> Page:
    """Return a page on which everything that a model, a user or a benchmark wrote is ``text``."""
    said = {"text": text, "question": text, "target": text, "tags": {text: text}}
    answers = [
        a_record("a1", 1.0, benchmark=text, variant="none/full", **said),
        a_record("a1", 0.0, benchmark=text, variant=f"none/{text}", **said),
        a_record("b1", 1.0, benchmark=text, variant="none/full", **said),
        a_record("b1", 0.0, benchmark=text, variant=f"none/{text}", **said),
        a_record("c1", None, benchmark=text, error=SampleError(type=text, message=text)),
    ]
    uncached = [a_record("a1", 0.0, benchmark=text, **(said | {"text": f"{text}!"}))]
    summary = summarize_run(write_run(folder, answers, uncached=uncached))
    summary["run"]["config"]["model"]["path"] = text
    summary["run"]["versions"] = {text: text}
    frame = Thumbnail(jpeg_base64="AAAA", width_px=1, height_px=1, caption=text)
    previews = {
        (text, "a1"): Preview(strip=Strip(frames=(frame,), num_seen=3), choices=(text, text)),
        (text, "b1"): Preview(strip=Strip(missing=text)),
    }
    written = report_page(f"{text}\ud800", summary, previews)
    written.encode("utf-8")
    return Page(written)


def test_no_text_changes_what_a_page_is_made_of(tmp_path: Path) -> None:
    harmless = re.sub(r"[^ ,]", "x", ESCAPES)  # as long, so that drawings break lines alike
    plain, hostile = (
        page_about(tmp_path / str(n), text) for n, text in enumerate((harmless, ESCAPES))
    )
    elements = [(tag, sorted(attributes)) for tag, attributes in hostile.tags]
    assert elements == [(tag, sorted(attributes)) for tag, attributes in plain.tags]
    shown = ESCAPES.replace("\x1b", "\ufffd")
    assert hostile.texts["h1"] == [f"{shown}\ufffd"]
    for tag in ("title", "p", "dt", "dd", "span", "h3", "li", "th", "td", "option", "div"):
        assert any(shown in text for text in hostile.texts[tag]), tag
    assert hostile.data["gallery"]["items"][0]["question"] == ESCAPES
    assert "<" not in hostile.texts["script"][0]


def test_the_policy_names_the_style_and_the_script_by_digest(tmp_path: Path) -> None:
    _, page = matrix(tmp_path)
    (policy,) = [a["content"] for _, a in page.tags if "http-equiv" in a]
    parts = dict(part.split(" ", 1) for part in (policy or "").split("; "))
    for kind, text in (("style", page.texts["style"][0]), ("script", page.texts["script"][1])):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert parts[f"{kind}-src"] == f"'sha256-{digest}'"
    assert not [a for _, a in page.tags if "style" in a], "the policy forbids style attributes"


def test_only_drawings_and_our_own_files_are_not_escaped() -> None:
    templates = {path: path.read_text("utf-8") for path in TEMPLATES.glob("*.j2")}
    assert len(templates) == 3
    trusted = [w for text in templates.values() for w in re.findall(r"([\w.]+) \| safe", text)]
    assert sorted(trusted) == ["figure.svg", "script", "style"]
    assert not any("autoescape" in text for text in templates.values())


def test_questions_on_the_same_frames_share_a_card(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", [a_record(name, 0.0) for name in ("a1", "a2", "b1")])
    frame = Thumbnail(jpeg_base64="AAAA", width_px=1, height_px=1, caption="0.5 s")
    seen = Preview(strip=Strip(frames=(frame,), num_seen=5))
    gone = Preview(strip=Strip(missing="MissingMedia: no file"))
    previews = {("b", "a1"): seen, ("b", "a2"): seen, ("b", "b1"): gone}
    page = Page(report_page("run", summarize_run(folder), previews))
    assert [a.get("class") for tag, a in page.tags if tag == "article"] == ["card", "card"]
    assert [tag for tag, _ in page.tags].count("img") == 1
    soft = page.texts["p"]
    assert "5 frames were seen." in soft
    assert "Frames not shown: MissingMedia: no file" in soft


@pytest.mark.parametrize("answers", [[], [None], [1.0]])
def test_any_run_has_a_page(tmp_path: Path, answers: list[float | None]) -> None:
    broken = SampleError(type="UndecodableMedia", message="clip.mp4 is truncated")
    found = [
        a_record("a", score, error=None if score else broken, text="A" if score else None)
        for score in answers
    ]
    page = Page(report_page("run", summarize_run(write_run(tmp_path / "run", found)), {}))
    if answers == [None]:
        assert page.texts["strong"][0] == "1"
        assert any("UndecodableMedia: clip.mp4 is truncated" in item for item in page.texts["li"])
    assert "Run" in page.texts["h2"]
