"""The journal: what a kill leaves of it, and what a repeated run makes of it."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from encodeonce.jobs.journal import Journal, JournalError, read
from encodeonce.jobs.queue import ItemError, Outcome, Status, WorkItem


def outcome(name: str, status: Status = "ok") -> Outcome:
    error = None if status == "ok" else ItemError(type="E", message="ü\n", traceback="line\n")
    value = {"name": name} if status == "ok" else None
    return Outcome(
        item=name, status=status, value=value, error=error, attempts=1, seconds=0.5, worker="h:1"
    )


OUTCOMES = [outcome("a"), outcome("b", "failed"), outcome("c", "quarantined")]
ITEMS = [WorkItem(id=name, payload=None) for name in "abcd"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A journal of `OUTCOMES`."""
    path = tmp_path / "journal.jsonl"
    with Journal(path, "f") as journal:
        for one in OUTCOMES:
            journal.append(one)
    return path


def test_what_was_appended_is_read_back(path: Path) -> None:
    history = read(path)
    assert history.fingerprint == "f"
    assert list(history.outcomes.values()) == OUTCOMES


def test_a_missing_journal_is_an_empty_history(tmp_path: Path) -> None:
    assert read(tmp_path / "none.jsonl").outcomes == {}


@given(cut=st.integers(min_value=0, max_value=600))
def test_a_kill_at_any_byte_loses_at_most_the_line_it_tore(
    tmp_path_factory: pytest.TempPathFactory, cut: int
) -> None:
    path = tmp_path_factory.mktemp("journal") / "journal.jsonl"
    with Journal(path, "f") as journal:
        for one in OUTCOMES:
            journal.append(one)
    whole = path.read_bytes()
    path.write_bytes(whole[:cut])
    num_whole = max(0, whole[:cut].count(b"\n") - 1)
    with Journal(path, "f") as journal:
        assert list(journal.history.outcomes.values()) == OUTCOMES[:num_whole]
        for one in OUTCOMES[num_whole:]:
            journal.append(one)
    assert path.read_bytes() == whole


def test_a_repeated_run_does_what_has_no_outcome(path: Path) -> None:
    with Journal(path, "f") as journal:
        assert [item.id for item in journal.remaining(ITEMS)] == ["d"]
        again = journal.remaining(ITEMS, again=("failed", "quarantined"))
        assert [item.id for item in again] == ["b", "c", "d"]


def test_the_last_outcome_of_an_item_counts(path: Path) -> None:
    with Journal(path, "f") as journal:
        journal.append(outcome("b"))
    assert read(path).outcomes["b"] == outcome("b")
    assert len(read(path).outcomes) == 3


def test_another_configuration_is_refused_and_the_journal_left_alone(path: Path) -> None:
    whole = path.read_bytes()
    with pytest.raises(JournalError, match=r"fingerprint is f, this run's is g.*another output"):
        Journal(path, "g")
    assert path.read_bytes() == whole


@pytest.mark.parametrize("content", ['{"id": 1}\n', "[]\n", '{"journal": 9}\n'])
def test_a_file_that_is_no_journal_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_text(content)
    with pytest.raises(JournalError, match=r"journal\.jsonl"):
        Journal(path, "f")
    assert path.read_text() == content
