"""The in-process executor."""

from pathlib import Path

import pytest

from encodeonce.jobs.execution.executor import WorkStopped
from encodeonce.jobs.execution.local import LocalExecutor
from encodeonce.jobs.execution.work import Limits
from tests.contracts.executor import (
    MAX_ATTEMPTS,
    ExecutorContract,
    ScriptedWorker,
    calls,
    item,
    run,
)


@pytest.fixture
def executor() -> LocalExecutor:
    return LocalExecutor(limits=Limits(max_attempts=MAX_ATTEMPTS, retry_after_s=0.1))


class TestLocalExecutor(ExecutorContract):
    pass


def test_an_interrupt_during_an_item_closes_the_worker_and_leaves(
    executor: LocalExecutor, tmp_path: Path
) -> None:
    class Interrupted(ScriptedWorker):
        def fail(self) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(executor.run([item("a", act="fail"), item("b")], lambda: Interrupted(tmp_path)))
    assert calls(tmp_path, "closed") == 1
    assert calls(tmp_path, "b") == 0


def test_an_item_that_always_makes_its_worker_leave_is_quarantined(
    executor: LocalExecutor, tmp_path: Path
) -> None:
    script = [item("a"), item("leaves", act="leave"), item("b")]
    found = {o.item: o for o in executor.run(script, lambda: ScriptedWorker(tmp_path))}
    assert found["leaves"].status == "quarantined"
    assert found["leaves"].attempts == calls(tmp_path, "leaves") == MAX_ATTEMPTS
    assert found["a"].status == found["b"].status == "ok"


def test_of_a_chunk_that_is_stopped_the_first_items_count(tmp_path: Path) -> None:
    executor, found = LocalExecutor(limits=Limits(chunk_size=4)), []
    items = [item("a", weight=4), item("b", weight=3), item("full", act="refuse"), item("c")]
    with pytest.raises(WorkStopped):
        for outcome in executor.run(items, lambda: ScriptedWorker(tmp_path)):
            found.append(outcome.item)
    assert found == ["a", "b"]
    assert calls(tmp_path, "c") == 0


def test_a_worker_is_told_what_comes_next_in_its_chunk(tmp_path: Path) -> None:
    executor = LocalExecutor(limits=Limits(chunk_size=3))
    run(executor, tmp_path, [item(f"i{n}", weight=9 - n) for n in range(4)])
    assert [calls(tmp_path, f"expected-i{n}") for n in range(4)] == [0, 1, 1, 0]
