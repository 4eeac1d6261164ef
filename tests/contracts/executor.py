"""The contract of every executor. Inherit `ExecutorContract` and give an `executor` fixture."""

import errno
import os
import signal
import time
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from encodeonce.cache_store.store import StoreNotWritable
from encodeonce.jobs.execution.executor import (
    Executor,
    RetryableError,
    WorkerStartError,
    WorkStopped,
)
from encodeonce.jobs.execution.work import Outcome, WorkError, WorkItem

MAX_ATTEMPTS = 3
"""Of the executors that inherit the contract."""


class ScriptedWorker:
    """Does what the payload says, and records every call in a file of its folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.note("made")

    def note(self, event: str) -> int:
        """Append to the event's file; return how often it has happened before, in any process."""
        with (self.folder / event).open("a") as file:
            file.write(f"{os.getpid()}\n")
        return len((self.folder / event).read_text().splitlines()) - 1

    def do(self, payload: dict[str, Any]) -> Any:
        """Answer, or misbehave the first ``times`` times (for ever by default), then answer."""
        earlier = self.note(payload["name"])
        if "act" in payload and earlier < payload.get("times", 10**9):
            getattr(self, payload["act"])()
        return payload.get("answer", {"name": payload["name"]})

    def expect(self, payload: dict[str, Any]) -> None:
        """Note what comes next."""
        self.note(f"expected-{payload['name']}")

    def close(self) -> None:
        self.note("closed")

    def fail(self) -> None:
        raise LookupError("nothing under this key")

    def stumble(self) -> None:
        raise RetryableError("the file server did not answer")

    def refuse(self) -> None:
        raise StoreNotWritable("the disk is full")

    def leave(self) -> None:
        raise SystemExit(3)

    def die(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def lose_the_server(self) -> None:
        raise ValueError("clip.mp4 cannot be read") from OSError(errno.ESTALE, "stale handle")

    def hang(self) -> None:
        time.sleep(3600)


class UnmakableWorker(ScriptedWorker):
    """Raises when it is made."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        raise FileNotFoundError("checkpoint is not there")


def item(name: str, *, weight: float = 1.0, **script: Any) -> WorkItem:
    """An item that `ScriptedWorker` understands."""
    return WorkItem(id=name, payload={"name": name, **script}, weight=weight)


def calls(folder: Path, event: str) -> int:
    """How often `ScriptedWorker.note` was called with ``event``."""
    path = folder / event
    return len(path.read_text().splitlines()) if path.exists() else 0


def run(executor: Executor, folder: Path, items: Iterable[WorkItem]) -> dict[str, Outcome]:
    """Run ``items`` and check that each ends exactly once."""
    items = list(items)
    outcomes = list(executor.run(items, partial(ScriptedWorker, folder)))
    assert sorted(outcome.item for outcome in outcomes) == sorted(item.id for item in items)
    return {outcome.item: outcome for outcome in outcomes}


class ExecutorContract:
    """Inherited by the tests of each executor."""

    def test_every_item_ends_ok_with_its_own_value(
        self, executor: Executor, tmp_path: Path
    ) -> None:
        outcomes = run(executor, tmp_path, [item(f"i{n}") for n in range(20)])
        assert all(outcome.status == "ok" for outcome in outcomes.values())
        assert all(outcome.value == {"name": name} for name, outcome in outcomes.items())
        assert all(calls(tmp_path, name) == 1 for name in outcomes)
        # One that is still starting when all is done is killed instead.
        made, closed = calls(tmp_path, "made"), calls(tmp_path, "closed")
        assert closed >= 1 and made - closed in (0, 1)

    def test_it_tells_how_many_workers_are_ready(self, executor: Executor, tmp_path: Path) -> None:
        told: list[tuple[int, int]] = []
        make_worker = partial(ScriptedWorker, tmp_path)
        items = [item(f"i{n}") for n in range(6)]
        assert len(list(executor.run(items, make_worker, lambda *now: told.append(now)))) == 6
        assert told[0][0] == 0
        assert max(ready for ready, _ in told) >= 1
        assert all(wanted >= 1 for _, wanted in told)

    def test_values_do_not_depend_on_the_order_of_the_items(
        self, executor: Executor, tmp_path: Path
    ) -> None:
        items = [item(f"i{n}", weight=n % 3, answer=[n, {"square": n * n}]) for n in range(9)]
        forwards, backwards = (run(executor, tmp_path, part) for part in (items, items[::-1]))
        assert {name: o.value for name, o in forwards.items()} == {
            name: o.value for name, o in backwards.items()
        }

    def test_an_item_that_raises_fails_once_and_alone(
        self, executor: Executor, tmp_path: Path
    ) -> None:
        outcomes = run(executor, tmp_path, [item("a"), item("bad", act="fail"), item("b")])
        bad = outcomes["bad"]
        assert (bad.status, bad.value, bad.attempts) == ("failed", None, 1)
        assert bad.error is not None
        assert (bad.error.type, bad.error.message) == ("LookupError", "nothing under this key")
        assert "in fail" in bad.error.traceback
        assert outcomes["a"].status == outcomes["b"].status == "ok"
        assert calls(tmp_path, "bad") == 1

    def test_what_a_worker_calls_retryable_is_tried_again(
        self, executor: Executor, tmp_path: Path
    ) -> None:
        script = [item("once", act="stumble", times=1), item("always", act="stumble")]
        outcomes = run(executor, tmp_path, script)
        assert (outcomes["once"].status, outcomes["once"].attempts) == ("ok", 2)
        assert (outcomes["always"].status, outcomes["always"].attempts) == ("failed", MAX_ATTEMPTS)
        assert calls(tmp_path, "always") == MAX_ATTEMPTS
        assert outcomes["always"].error is not None
        assert outcomes["always"].error.type == "RetryableError"

    def test_an_error_of_a_file_server_is_tried_again_and_another_is_not(
        self, executor: Executor, tmp_path: Path
    ) -> None:
        script = [item("server", act="lose_the_server", times=1), item("bad", act="fail", times=1)]
        outcomes = run(executor, tmp_path, script)
        assert (outcomes["server"].status, outcomes["server"].attempts) == ("ok", 2)
        assert (outcomes["bad"].status, calls(tmp_path, "bad")) == ("failed", 1)

    def test_what_would_refuse_every_item_ends_the_run_at_the_first(
        self, executor: Executor, tmp_path: Path
    ) -> None:
        items = [item("a", weight=3), item("full", weight=2, act="refuse")]
        later = [item(f"i{n}") for n in range(20)]
        found = []
        with pytest.raises(WorkStopped, match="the disk is full"):
            for outcome in executor.run([*items, *later], partial(ScriptedWorker, tmp_path)):
                found.append(outcome.item)
        assert calls(tmp_path, "full") == 1
        assert "full" not in found, "it is tried again when the command is repeated"
        assert set(found) <= {"a", *(one.id for one in later)}
        assert sum(calls(tmp_path, one.id) for one in later) < len(later)

    def test_a_worker_that_leaves_is_replaced_and_its_item_tried_again(
        self, executor: Executor, tmp_path: Path
    ) -> None:
        script = [item("a"), item("leaves", act="leave", times=1), item("b")]
        outcomes = run(executor, tmp_path, script)
        assert {outcome.status for outcome in outcomes.values()} == {"ok"}
        assert calls(tmp_path, "leaves") == 2

    def test_a_value_that_json_cannot_say_is_its_items_failure(
        self, executor: Executor, tmp_path: Path
    ) -> None:
        odd = {"set": {1, 2}, "nan": float("nan"), "bytes": b"x", "text": "x"}
        script = [item(name, answer=answer) for name, answer in odd.items()]
        outcomes = run(executor, tmp_path, script)
        assert [name for name in odd if outcomes[name].status == "ok"] == ["text"]

    def test_a_tuple_arrives_as_the_list_that_a_journal_would_hold(
        self, executor: Executor, tmp_path: Path
    ) -> None:
        assert run(executor, tmp_path, [item("a", answer=(1, (2,)))])["a"].value == [1, [2]]

    def test_two_items_with_one_id_are_refused(self, executor: Executor, tmp_path: Path) -> None:
        with pytest.raises(WorkError, match="'twice'"):
            list(executor.run([item("twice"), item("twice")], partial(ScriptedWorker, tmp_path)))

    def test_a_worker_that_cannot_be_made_ends_the_run_with_the_reason(
        self, executor: Executor, tmp_path: Path
    ) -> None:
        with pytest.raises(WorkerStartError, match="FileNotFoundError: checkpoint is not there"):
            list(executor.run([item("a")], partial(UnmakableWorker, tmp_path)))
        assert calls(tmp_path, "made") == 1

    def test_without_items_no_worker_is_made(self, executor: Executor, tmp_path: Path) -> None:
        assert run(executor, tmp_path, []) == {}
        assert calls(tmp_path, "made") == 0

    def test_closing_the_iterator_stops_the_work(self, executor: Executor, tmp_path: Path) -> None:
        items = [item(f"i{n}", act="fail") for n in range(200)]
        outcomes = iter(executor.run(items, partial(ScriptedWorker, tmp_path)))
        next(outcomes)
        outcomes.close()  # type: ignore[attr-defined]
        time.sleep(0.2)
        num_calls = sum(calls(tmp_path, name.id) for name in items)
        time.sleep(0.2)
        assert num_calls == sum(calls(tmp_path, name.id) for name in items) < 200
