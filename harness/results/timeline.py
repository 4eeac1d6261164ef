"""The feature store's hit rate over the course of a run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

import numpy as np

from encodeonce.harness.run.record import CacheUse

NUM_PARTS = 24
"""Number of equal parts that a stage's time is cut into."""
PAUSE_S = 1800.0
"""A longer gap between a journal's lines counts as an interruption, not as part of the run."""


class Written(Protocol):
    """A line of a journal: what was asked of the store, and when it was written."""

    @property
    def finished_at(self) -> str | None:
        """ISO 8601; None in journals of earlier versions, which did not write it."""

    @property
    def cache(self) -> CacheUse:
        """What was asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A line of precompute's journal; a `Record` is one of evaluation's."""

    finished_at: str | None
    cache: CacheUse


def now() -> str:
    """Return the time for `Step.finished_at`: UTC, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def hit_timeline(stages: Mapping[str, Sequence[Written]]) -> dict[str, Any] | None:
    """Return requested and found units in equal parts of each stage's time; None if there are none.

    Args:
        stages: by name, the lines of a stage's journal in the order they were written.

    Returns:
        For each stage in which units were asked for:

        - ``clock``: ``"seconds"`` since the stage's first line, interruptions left out;
          ``"lines"`` where the journal has no times.
        - ``num_pauses``: interruptions left out.
        - ``parts``: of the time, those in which units were asked for: ``until`` (the end),
          ``num_units``, ``num_hits``, ``hit_rate``.
    """
    found = {
        name: _stage(lines)
        for name, lines in stages.items()
        if any(step.cache.num_units for step in lines)
    }
    return found or None


def _stage(steps: Sequence[Written]) -> dict[str, Any]:
    clock, num_pauses, places = "lines", 0, [float(n) for n in range(len(steps))]
    times = [step.finished_at for step in steps if step.finished_at is not None]
    if len(times) == len(steps):
        clock, (places, num_pauses) = "seconds", _seconds(times)
    width = max(places) / NUM_PARTS
    found: dict[int, CacheUse] = {}
    for step, place in zip(steps, places, strict=True):
        if step.cache.num_units:
            part = min(NUM_PARTS - 1, int(place / width)) if width else 0
            found[part] = found.get(part, CacheUse()) + step.cache
    parts = [
        {
            "until": (part + 1) * width,
            "num_units": found[part].num_units,
            "num_hits": found[part].num_hits,
            "hit_rate": found[part].num_hits / found[part].num_units,
        }
        for part in sorted(found)
    ]
    return {"clock": clock, "num_pauses": num_pauses, "parts": parts}


def _seconds(times: Sequence[str]) -> tuple[list[float], int]:
    """Return each time in seconds since the earliest, less pauses, and the number of pauses."""
    stamps = np.fromiter((datetime.fromisoformat(time).timestamp() for time in times), float)
    ordered, places = np.unique(stamps, return_inverse=True)
    gaps_s = np.diff(ordered, prepend=ordered[:1])
    is_pause = gaps_s > PAUSE_S
    elapsed_s = np.cumsum(np.where(is_pause, 0.0, gaps_s))
    return elapsed_s[places].tolist(), int(is_pause.sum())
