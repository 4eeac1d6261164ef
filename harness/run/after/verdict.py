"""Verdicts: one line of ``verdicts.jsonl`` for each answer that a judge was asked about."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from encodeonce.datasets.refusals import checked_as
from encodeonce.harness.run.jsonl import read_lines
from encodeonce.harness.run.record import Record, SampleError

FILE = "verdicts.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeIdentity:
    """All that decides a verdict beside question, reference and answer."""

    model: str
    rubric_sha256: str
    settings: Mapping[str, Any]
    """The request's other keys: temperature, longest reply."""

    @property
    def sha256(self) -> str:
        """Its digest."""
        text = json.dumps(asdict(self), sort_keys=True, ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictRecord:
    """A verdict about one answer, or the error in its place."""

    benchmark: str
    sample: str
    variant: str
    request_sha256: str
    """Digest of all that the judge is sent: equal requests are sent once."""
    answer_sha256: str
    """Of the answer's text: a verdict about another answer to the question does not count."""
    judge: JudgeIdentity
    value: float | None = None
    """In [0, 1]."""
    reference: float | None = None
    """What the same reply gives the reference, in [0, 1]; None where only the answer is judged."""
    reply: str | None = None
    error: SampleError | None = None
    is_replayed: bool = False
    """Whether an earlier request's reply was taken, which costs nothing."""
    input_tokens: int = 0
    output_tokens: int = 0
    """As the server counts them; 0 if it does not."""
    finished_at: str | None = None
    """UTC, ISO 8601."""

    @property
    def key(self) -> tuple[str, str, str]:
        """The answer that it is about: `Record.key`."""
        return (self.benchmark, self.sample, self.variant)

    def is_about(self, record: Record) -> bool:
        """Return whether it is about the answer as it stands."""
        return record.text is not None and self.answer_sha256 == text_sha256(record.text)


Standing = Mapping[tuple[str, tuple[str, str, str]], VerdictRecord]
"""Verdicts that count, by the judge's digest and the answer's key."""


def text_sha256(text: str) -> str:
    """Return a text's digest."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def read_verdicts(folder: Path) -> list[VerdictRecord]:
    """Return all lines of a run's verdicts, the oldest first.

    Raises:
        DamagedFile: a line is not what was written there.
    """
    return list(read_lines(folder / FILE, _verdict_of))


def standing(verdicts: Iterable[VerdictRecord], records: Sequence[Record]) -> Standing:
    """Return the verdicts that count, by the judge's digest and the answer's key.

    Each is the last about the answer as it stands, and a verdict rather than an error.
    """
    answers = {record.key: record for record in records}
    found: dict[tuple[str, tuple[str, str, str]], VerdictRecord] = {}
    for one in verdicts:
        record = answers.get(one.key)
        if record is None or not one.is_about(record):
            continue
        place = (one.judge.sha256, one.key)
        if one.error is None or place not in found or found[place].error is not None:
            found[place] = one
    return found


def latest(
    verdicts: Sequence[VerdictRecord], records: Sequence[Record]
) -> dict[tuple[str, str, str], VerdictRecord]:
    """Return the verdicts of the judge that was asked last, errors left out, by answer."""
    if not verdicts:
        return {}
    judge = verdicts[-1].judge.sha256
    return {
        key: one
        for (digest, key), one in standing(verdicts, records).items()
        if digest == judge and one.value is not None
    }


def _verdict_of(content: Any) -> VerdictRecord:
    if not isinstance(content, dict):
        raise ValueError(f"a verdict is an object, not {type(content).__name__}")
    found = checked_as(VerdictRecord, content)
    if (found.value is None) == (found.error is None):
        raise ValueError("a verdict has a value, or else an error")
    return found
