"""The report's page in a browser: on a phone, in the dark, and printed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from encodeonce.harness.report.write import write_report
from encodeonce.harness.run.folder import RunFolder
from encodeonce.models.kv.spec import FULL, KVSpec
from encodeonce.models.spec import NONE, WeightsSpec
from tests.browser.conftest import PHONE, SPLIT_WORDS
from tests.harness.records import use
from tests.harness.runs import a_record, write_run

KV = (
    FULL,
    *(KVSpec(method="streaming_llm", keep=keep, scope="media") for keep in (0.5, 0.125)),
    *(KVSpec(method="random", keep=keep, options={"shared": True}) for keep in (0.5, 0.125)),
)
WEIGHTS = (NONE, WeightsSpec(method="bnb-nf4"))


@pytest.fixture
def address(tmp_path: Path) -> str:
    answers = [
        a_record(
            f"{'abcd'[n // 2]}{n}",
            float(n >= row + column),
            variant=f"{weights.title}/{kv.title}",
            kv=None if kv.is_full else use(round(100 * kv.keep)),
        )
        for row, weights in enumerate(WEIGHTS)
        for column, kv in enumerate(KV)
        for n in range(8)
    ]
    run: RunFolder = write_run(tmp_path / "run", answers, weights=WEIGHTS, kv=KV)
    return write_report(run).pages[1].as_uri()


def test_on_a_phone_no_word_is_split_and_nothing_is_wider(
    address: str, page_of: Callable[..., Any]
) -> None:
    page = page_of(address, PHONE)
    assert page.inner_text("h2 >> nth=0") == "Result"
    assert page.evaluate(SPLIT_WORDS) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_printed_it_is_light_and_has_no_controls(address: str, page_of: Callable[..., Any]) -> None:
    page = page_of(address, scheme="dark")
    colour = "getComputedStyle(document.body).backgroundColor"
    assert page.evaluate(colour) == "rgb(20, 23, 27)"
    assert page.is_visible("nav")
    page.emulate_media(media="print")
    assert page.evaluate(colour) == "rgb(255, 255, 255)"
    assert not page.is_visible("nav")
    assert not page.is_visible(".filter")
