"""A hundred thousand answers do not keep a reader waiting; prints how long each thing took."""

import json
import resource
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser.conftest import expect
from tests.browser.test_viewer import ROWS, expect_rows, served
from tests.harness.runs import a_record, write_run

NUM_SAMPLES = 100_000
MOST_S = {
    "first row": 3.0,
    "all read": 30.0,
    "search": 1.0,
    "filter": 1.0,
    "sort": 3.0,
    "scroll": 1.0,
}
"""Limits with room to spare for a busy machine; docs/measurements.md has what was measured."""

BUSIEST = """new PerformanceObserver(list => {
  for (const one of list.getEntries()) window.longest = Math.max(window.longest ?? 0, one.duration);
}).observe({ type: "longtask", buffered: true })"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = write_run(tmp_path_factory.mktemp("many") / "run", [])
    line = a_record("s", 1.0, tags={"kind": "count"}).to_dict()
    question = "What happens in the video after the person in the red coat has left the room? "
    with (run.path / "records.jsonl").open("w") as file:
        for n in range(NUM_SAMPLES):
            is_right = n % 3 != 0
            changed = {
                "sample": f"sample-{n}",
                "question": f"{question} ({n * 7919 % NUM_SAMPLES})",
                "group": f"video-{n // 10}",
                "score": float(is_right),
                "text": "A" if is_right else "B",
            }
            file.write(json.dumps(line | changed) + "\n")
    return run.path


class Clock:
    """Measures how long parts of a test take."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._since = time.perf_counter()

    def begin(self) -> None:
        self._since = time.perf_counter()

    def end(self, name: str) -> None:
        self.seconds[name] = round(time.perf_counter() - self._since, 3)


@pytest.fixture
def clock(capsys: pytest.CaptureFixture[str]) -> Iterator[Clock]:
    found = Clock()
    yield found
    with capsys.disabled():
        print(f"\n{NUM_SAMPLES} answers: {found.seconds}")  # noqa: T201


def test_a_hundred_thousand_answers(
    folder: Path, page_of: Callable[..., Any], clock: Clock
) -> None:
    clock.begin()
    with served(folder) as address:
        clock.end("server ready")
        clock.begin()
        page = page_of(address)
        page.wait_for_selector(ROWS)
        page.evaluate(BUSIEST)
        summary, questions = page.locator("#summary"), page.locator(f"{ROWS} .col-question")
        expect(summary).to_contain_text("100,000 shown of", timeout=60_000)
        clock.end("all read")

        clock.begin()
        page.fill("[name=q]", "sample-99999")
        expect_rows(page, 1)
        clock.end("search")
        page.fill("[name=q]", "")
        expect(summary).to_contain_text("100,000 shown of")
        clock.begin()
        page.select_option("[name=result]", label="wrong")
        expect(summary).to_contain_text("33,334 shown of")
        clock.end("filter")
        page.select_option("[name=result]", label="all")
        expect(summary).to_contain_text("100,000 shown of")
        clock.begin()
        page.click("#heads >> text=question")
        expect(questions.first).to_contain_text("(0)")
        clock.end("sort")
        clock.begin()
        page.focus("#list")
        page.keyboard.press("End")
        expect(questions.filter(has_text="(99999)")).to_have_count(1)
        clock.end("scroll")
        # The page's own clock: a browser says that a page is loaded when all its scripts are.
        drawn_ms = page.evaluate("performance.getEntriesByName('first rows')[0].startTime")
        clock.seconds["first row"] = drawn_ms / 1000
        rows = page.locator("#space [role=row]").count()
        clock.seconds["busy, most"] = page.evaluate("(window.longest ?? 0) / 1000")
        clock.seconds["page, MiB"] = page.evaluate("performance.memory.usedJSHeapSize / 2**20")
        clock.seconds["server, MiB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    assert rows < 100
    assert {name: s for name, s in clock.seconds.items() if s > MOST_S.get(name, s)} == {}
