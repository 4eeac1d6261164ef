"""How the hit rate of the feature store went over the time of a run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

from encodeonce.harness.record import CacheUse

NUM_PARTS = 40
"""The run's time is cut into so many equal parts."""
PAUSE_S = 1800.0
"""Longer without a line in the journals is no part of the run: it was interrupted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A line of a journal: what was asked of the store, and when that was written."""

    finished_at: str | None
    """ISO 8601; None in journals of versions that did not write it."""
    cache: CacheUse


def now() -> str:
    """Return the time for `Step.finished_at`: UTC, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def hit_timeline(stages: Mapping[str, Sequence[Step]]) -> dict[str, Any] | None:
    """Return units asked for and hit in equal parts of the run's time; None if none were.

    Args:
        stages: by name, lines of a stage's journal in the order they were written.

    Returns:
        - ``clock``: ``"seconds"`` since the run's first line, interruptions left out; ``"lines"``
          where a journal has no times.
        - ``num_pauses``: interruptions left out.
        - ``stages``: by name, for each part of the time in which units were asked for
          ``until`` (its end), ``num_units``, ``num_hits`` and ``hit_rate``.
    """
    steps = [(name, step) for name, lines in stages.items() for step in lines]
    if not any(step.cache.num_units for _, step in steps):
        return None
    seconds = _seconds([step for _, step in steps])
    places = [float(n + 1) for n in range(len(steps))] if seconds is None else seconds.places
    width = max(places) / NUM_PARTS or 1.0
    found: dict[str, dict[int, CacheUse]] = {name: {} for name in stages}
    for (name, step), place in zip(steps, places, strict=True):
        part = min(NUM_PARTS - 1, int(place / width))
        if step.cache.num_units:
            found[name][part] = found[name].get(part, CacheUse()) + step.cache
    return {
        "clock": "lines" if seconds is None else "seconds",
        "num_pauses": 0 if seconds is None else seconds.num_pauses,
        "stages": {
            name: [_part((part + 1) * width, parts[part]) for part in sorted(parts)]
            for name, parts in found.items()
            if parts
        },
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seconds:
    places: list[float]
    num_pauses: int


def _seconds(steps: Sequence[Step]) -> _Seconds | None:
    """Return the seconds of each step since the first, less pauses; None if one has no time."""
    times = [step.finished_at for step in steps]
    if any(time is None for time in times):
        return None
    stamps = [datetime.fromisoformat(time).timestamp() for time in times if time is not None]
    at, num_pauses, elapsed_s = {}, 0, 0.0
    ordered = sorted(set(stamps))
    at[ordered[0]] = 0.0
    for before, after in pairwise(ordered):
        is_pause = after - before > PAUSE_S
        num_pauses += is_pause
        elapsed_s += 0.0 if is_pause else after - before
        at[after] = elapsed_s
    return _Seconds(places=[at[stamp] for stamp in stamps], num_pauses=num_pauses)


def _part(until: float, use: CacheUse) -> dict[str, Any]:
    return {
        "until": until,
        "num_units": use.num_units,
        "num_hits": use.num_hits,
        "hit_rate": use.num_hits / use.num_units,
    }
