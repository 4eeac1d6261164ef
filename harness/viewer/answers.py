"""The answers of one run or two, by sample and column, for the viewer.

A *column* is all answers of a run under one variant. With two runs, samples are put side by side by
benchmark and id, so that a column of one can be compared with any column of the other.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from encodeonce.harness.report.names import Names
from encodeonce.harness.run.folder import RunFolder, media_sha256
from encodeonce.harness.run.record import Record
from encodeonce.harness.run.variant import BASELINE, Variant, adapters_in, variants_of

SampleKey = tuple[str, str]
"""Benchmark and sample."""

UNCACHED = "plain transformers"
"""The name of the column of `uncached.jsonl`."""
_OF_UNCACHED = " uncached"


class ViewError(ValueError):
    """There is nothing to view, or not what was asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """All answers of a run under one variant."""

    side: int
    """Which of the runs, from 0."""
    variant: str
    """The variant's id; of plain transformers' answers, with `_OF_UNCACHED` behind it."""
    name: str
    """As people say it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """A run: where it is, and what it was."""

    path: Path
    run: Mapping[str, Any]
    """run.json."""
    media_sha256: frozenset[str]
    """Digests of the media that it used, as far as known."""


@dataclass(frozen=True, slots=True)
class Row:
    """A sample: its question, and the answers in the order of the columns."""

    asked: Record
    """The first record of the sample, for its question, options and right answer."""
    answers: list[Record | None]
    is_other_question: bool = False
    """Whether the two runs asked different things under the same id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What the viewer shows."""

    sides: tuple[Side, ...]
    columns: tuple[Column, ...]
    reference: int
    """The column that others are compared with at first."""
    rows: tuple[Row, ...]


def read_answers(folders: Sequence[Path], patterns: Sequence[str] = ()) -> Answers:
    """Read one run or two.

    Args:
        folders: their output folders; the runs need not be finished.
        patterns: of the variants' ids to show (``*`` stands for anything); all if empty.

    Raises:
        RunFolderError: a folder holds no run, or a damaged one.
        ViewError: there are no answers, or none under such a variant, or there are too many runs.
    """
    if len(folders) > 2:
        raise ViewError(f"one run or two can be viewed side by side; got {len(folders)} folders")
    sides: list[Side] = []
    columns: list[Column] = []
    found: dict[SampleKey, dict[int, Record]] = {}
    runs = [(RunFolder(path), _by_variant(RunFolder(path))) for path in folders]
    _require_matches(patterns, [(folder.path, [*records]) for folder, records in runs])
    for number, (folder, by_variant) in enumerate(runs):
        run, journal = folder.description(), folder.precompute_outcomes()
        sides.append(Side(path=folder.path, run=run, media_sha256=frozenset(media_sha256(journal))))
        for column, records in _columns(folder, number, run, by_variant):
            if not _matches(column.variant.removesuffix(_OF_UNCACHED), patterns):
                continue
            for record in records:
                of_sample = found.setdefault((record.benchmark, record.sample), {})
                of_sample[len(columns)] = record
            columns.append(column)
    rows = tuple(_row(answers, len(columns)) for answers in found.values())
    return Answers(
        sides=tuple(sides), columns=tuple(columns), reference=_reference(columns), rows=rows
    )


def _by_variant(folder: RunFolder) -> dict[str, list[Record]]:
    folder.description()  # says best why this is no run's folder
    found: dict[str, list[Record]] = {}
    for record in folder.records("records", with_logits=False):
        found.setdefault(record.variant, []).append(record)
    if not found:
        raise ViewError(
            f"{folder.path} has no answers yet: repeat the `encodeonce run` that made it"
        )
    return found


def _columns(
    folder: RunFolder,
    side: int,
    run: Mapping[str, Any],
    by_variant: Mapping[str, list[Record]],
) -> Iterator[tuple[Column, list[Record]]]:
    """Yield a run's columns with their records, in the order of the run file."""
    meanings = run.get("variants", {})
    names, adapters = Names(meanings), adapters_in(meanings)
    known = [variant.name for variant in variants_of(meanings) if variant.name in by_variant]
    for variant in dict.fromkeys([*known, *by_variant]):
        name = names.variant(Variant.parse(variant, adapters))
        yield Column(side=side, variant=variant, name=name), by_variant[variant]
    plain: dict[str, list[Record]] = {}
    for record in folder.records("uncached", with_logits=False):
        plain.setdefault(record.variant, []).append(record)
    for variant, records in plain.items():
        yield Column(side=side, variant=f"{variant}{_OF_UNCACHED}", name=UNCACHED), records


def _matches(variant: str, patterns: Sequence[str]) -> bool:
    return not patterns or any(
        variant == pattern or fnmatchcase(variant, pattern) for pattern in patterns
    )


def _require_matches(patterns: Sequence[str], known: Sequence[tuple[Path, list[str]]]) -> None:
    """Refuse a pattern that fits no variant, and patterns of which none fits a run's."""
    every = [variant for _, variants in known for variant in variants]
    for pattern in patterns:
        if not any(_matches(variant, [pattern]) for variant in every):
            raise ViewError(
                f"--variants {pattern}: there is no such variant; there are "
                f"{', '.join(dict.fromkeys(every))}"
            )
    for path, variants in known:
        if not any(_matches(variant, patterns) for variant in variants):
            raise ViewError(f"--variants: {path} has none of these; it has {', '.join(variants)}")


def _reference(columns: Sequence[Column]) -> int:
    """Return the number of the column that is compared with: the baseline, or else the first."""
    names = [column.variant for column in columns]
    return names.index(BASELINE.name) if BASELINE.name in names else 0


def _row(answers: Mapping[int, Record], num_columns: int) -> Row:
    asked = next(iter(answers.values()))
    said = (asked.question, asked.target)
    return Row(
        asked=asked,
        answers=[answers.get(number) for number in range(num_columns)],
        is_other_question=any((r.question, r.target) != said for r in answers.values()),
    )
