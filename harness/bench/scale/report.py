"""The report of ``encodeonce bench scale``."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from encodeonce.harness.bench.scale.measure import Scale
from encodeonce.harness.report.numbers import human_bytes
from encodeonce.harness.report.section import Section, Table

UNITS: Mapping[str, str] = {"index": "keys", "plan": "samples", "report": "records"}
RATE = "look-ups/s"


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """What a part should manage at a size."""

    size: int
    what: str
    """A step, ``"all steps"``, ``"peak bytes"``, or `RATE`, the only one that should be large."""
    limit: float


AIMS: Mapping[str, Sequence[Aim]] = {
    "index": (
        Aim(size=1_000_000, what="open", limit=2.0),
        Aim(size=1_000_000, what="stat", limit=5.0),
        Aim(size=1_000_000, what=RATE, limit=100_000.0),
    ),
    "plan": (
        Aim(size=500_000, what="all steps", limit=60.0),
        Aim(size=500_000, what="peak bytes", limit=2e9),
    ),
    "report": (
        Aim(size=1_000_000, what="all steps", limit=60.0),
        Aim(size=1_000_000, what="peak bytes", limit=2e9),
    ),
}


_IN_BRACKETS = (
    "In brackets: seconds of the processor, which other jobs on the machine hardly lengthen; "
    "growth, look-ups and aims go by them."
)


def sections(found: Sequence[Scale]) -> list[Section]:
    """Return a table for each part, and what of the aims is reached where they were measured."""
    parts = dict.fromkeys(one.part for one in found)
    return [_section(part, [one for one in found if one.part == part]) for part in parts]


def _section(part: str, found: Sequence[Scale]) -> Section:
    steps = list(found[0].seconds)
    figures = list(found[0].figures)
    rows = []
    for one in found:
        seconds = [f"{one.seconds[s]:.2f} s ({one.processor_seconds[s]:.2f})" for s in steps]
        others = [f"{one.figures[name]:,.6g}" for name in figures]
        memory = human_bytes(one.peak_bytes), human_bytes(one.import_bytes)
        rows.append((f"{one.size:,}", *seconds, *others, *memory))
    columns = (UNITS[part], *steps, *figures, "peak memory", "of it, imports")
    return Section(
        title=f"Scale: {part}",
        table=Table(columns=columns, rows=tuple(rows)),
        sentences=(_IN_BRACKETS, *_growth(found), *_verdicts(part, found)),
    )


def _growth(found: Sequence[Scale]) -> Iterator[str]:
    """Say how steps grow from the smallest size to the largest."""
    first, last = found[0], found[-1]
    if first.size == last.size:
        return
    factor = last.size / first.size
    words = []
    for step, seconds in last.processor_seconds.items():
        if first.processor_seconds[step] > 0 and seconds > 0:
            power = math.log(seconds / first.processor_seconds[step]) / math.log(factor)
            words.append(f"{step} with the power {power:.2f}")
    memory = (last.peak_bytes - first.peak_bytes) / (last.size - first.size)
    yield f"Growth with the size: {', '.join(words)}; {memory:,.0f} bytes of memory each."


def _verdicts(part: str, found: Sequence[Scale]) -> Iterator[str]:
    for aim in AIMS[part]:
        for one in found:
            if one.size != aim.size:
                continue
            value = _value(one, aim.what)
            is_met = value >= aim.limit if aim.what == RATE else value <= aim.limit
            verb = "at least" if aim.what == RATE else "at most"
            word = "reached" if is_met else "missed"
            yield (
                f"Aim at {aim.size:,} {UNITS[part]}: {aim.what} {verb} {aim.limit:,.6g}; "
                f"{word} with {value:,.4g}."
            )


def _value(one: Scale, what: str) -> float:
    if what == "all steps":
        return sum(one.processor_seconds.values())
    if what == "peak bytes":
        return float(one.peak_bytes)
    steps = one.processor_seconds
    return steps[what] if what in steps else one.figures[what]
