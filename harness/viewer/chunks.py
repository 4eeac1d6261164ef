"""The viewer's data as small scripts, which a page may load from a server as from a disk.

Pages that lie on a disk (``file://``) may not fetch files, but may load scripts. So each chunk is a
script that calls one function with a name and a JSON value::

    encodeonceData("samples-0", {...});

``index``       runs, columns, tags, and how many chunks of the others there are
``samples-N``   what the list needs of some samples: ids, questions, right answers, results
``answers-N``   the answers to some samples, under all columns
``media-N``     which of ``frames-M`` each of these samples is about; None where it is not known
``frames-M``    some frames, and where the clip is

Nothing that a model, a user or a benchmark wrote is ever a key of these values.
"""

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from encodeonce.harness.run.record import Record
from encodeonce.harness.viewer.answers import Answers, Row

FIRST_SAMPLES = 200
"""In the first chunk of samples, which a reader waits for."""
CHUNK_SAMPLES = 5000
"""In the others."""
CHUNK_ANSWERS = 2000
"""In a chunk of answers, all columns together."""
RIGHT_FROM = 0.5
"""The score from which an answer counts as right, as in the report."""

NOTHING, ERROR, UNSCORED, WRONG, RIGHT = "-euwr"
"""The results of a sample under its columns are a word of such letters."""


def script(name: str, content: Any) -> bytes:
    """Return the script that hands a chunk to the page."""
    # Escapes whatever is not ASCII: lone surrogates, and line breaks that scripts had not allowed.
    value = json.dumps(content, ensure_ascii=True, separators=(",", ":"))
    return f"encodeonceData({json.dumps(name)},{value});\n".encode("ascii")


def result_of(record: Record | None) -> str:
    """Return the letter of an answer's result."""
    if record is None:
        return NOTHING
    if record.error is not None:
        return ERROR
    if record.score is None:
        return UNSCORED
    return RIGHT if record.score >= RIGHT_FROM else WRONG


class Chunks:
    """Makes the chunks of some answers."""

    def __init__(self, answers: Answers) -> None:
        """Take the answers."""
        self._answers = answers
        self.samples_per_answers = max(1, CHUNK_ANSWERS // max(1, len(answers.columns)))
        """Samples in a chunk of answers, and of media."""

    @cached_property
    def _benchmarks(self) -> dict[str, int]:
        names = dict.fromkeys(row.asked.benchmark for row in self._answers.rows)
        return {name: number for number, name in enumerate(names)}

    @cached_property
    def _tags(self) -> dict[tuple[str, str], int]:
        found = sorted({tag for row in self._answers.rows for tag in row.asked.tags.items()})
        return {tag: number for number, tag in enumerate(found)}

    @property
    def num_samples_chunks(self) -> int:
        """Chunks of samples."""
        return len(self._sample_ranges)

    @property
    def num_answers_chunks(self) -> int:
        """Chunks of answers, and of media."""
        return -(-len(self._answers.rows) // self.samples_per_answers)

    @cached_property
    def _sample_ranges(self) -> list[range]:
        count = len(self._answers.rows)
        starts = [0, *range(FIRST_SAMPLES, count, CHUNK_SAMPLES)]
        return [range(a, b) for a, b in zip(starts, [*starts[1:], count], strict=True)]

    def answers_range(self, number: int) -> range:
        """Return the numbers of the samples in a chunk of answers or media."""
        start = number * self.samples_per_answers
        return range(start, min(start + self.samples_per_answers, len(self._answers.rows)))

    def index(self) -> dict[str, Any]:
        """Return what the page needs first."""
        answers = self._answers
        return {
            "runs": [_run(side.path.resolve().name, side.run) for side in answers.sides],
            "columns": [
                {"side": one.side, "variant": one.variant, "name": one.name}
                for one in answers.columns
            ],
            "reference": answers.reference,
            "benchmarks": list(self._benchmarks),
            "tags": [f"{name}: {value}" for name, value in self._tags],
            "numSamples": len(answers.rows),
            "numRecords": sum(one is not None for row in answers.rows for one in row.answers),
            "numSamplesChunks": self.num_samples_chunks,
            "samplesPerAnswers": self.samples_per_answers,
            "hasFrames": True,
        }

    def samples(self, number: int) -> dict[str, Any]:
        """Return a chunk of samples; lists are as long as it has samples."""
        some = self._sample_ranges[number]
        rows = self._answers.rows[some.start : some.stop]
        return {
            "start": some.start,
            "ids": [row.asked.sample for row in rows],
            "benchmarks": [self._benchmarks[row.asked.benchmark] for row in rows],
            "questions": [row.asked.question for row in rows],
            "targets": [row.asked.target for row in rows],
            "choices": [list(row.asked.choices) for row in rows],
            "tags": [[self._tags[tag] for tag in row.asked.tags.items()] for row in rows],
            "results": ["".join(map(result_of, row.answers)) for row in rows],
            "differing": [n for n, row in enumerate(rows) if row.is_other_question],
        }

    def answers(self, number: int) -> list[list[list[Any] | None]]:
        """Return a chunk of answers: by sample and column, ``[text, read as, score, error]``."""
        rows = (self._answers.rows[n] for n in self.answers_range(number))
        return [[_answer(one) for one in row.answers] for row in rows]

    def rows(self, number: int) -> Sequence[Row]:
        """Return the samples of a chunk of answers or media."""
        some = self.answers_range(number)
        return self._answers.rows[some.start : some.stop]


def _answer(record: Record | None) -> list[Any] | None:
    if record is None:
        return None
    error = None if record.error is None else f"{record.error.type}: {record.error.message}"
    return [record.text, record.extracted, record.score, error]


def _run(name: str, run: Mapping[str, Any]) -> dict[str, str]:
    return {
        "name": name,
        "model": str(run["config"].get("model", {}).get("path", "")),
        "fingerprint": str(run["fingerprint"])[:16],
    }
