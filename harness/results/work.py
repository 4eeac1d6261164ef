"""What one command did in a stage of a run; the run's folder holds what all of them did."""

from collections.abc import Mapping
from dataclasses import dataclass

from encodeonce.harness.run.record import CacheUse


@dataclass(slots=True, kw_only=True)
class StageWork:
    """Counts what a command does in one stage, and knows what had been done before it."""

    unit: str
    """What is counted, e.g. ``"answers"``."""
    num_total: int
    num_kept: int
    """Of these, what the folder or the store holds by now, as far as the command has looked."""
    is_at_least: bool = False
    """Whether more may be kept than the command has looked at."""
    num_new: int = 0
    """What the command added, errors included."""
    cache: CacheUse = CacheUse()
    """The command's own look-ups and encodings."""

    def add(self, *, num_new: int, num_kept: int, cache: CacheUse) -> None:
        """Count what has just been written down."""
        self.num_new += num_new
        self.num_kept += num_kept
        self.cache += cache

    @property
    def hit_rate(self) -> float | None:
        """Share of the units looked up that the store had; None without any."""
        return self.cache.num_hits / self.cache.num_units if self.cache.num_units else None


Work = Mapping[str, StageWork]
"""A command's work by stage, in the order of the stages."""


def kept(work: Work) -> str:
    """Return what is kept if the command ends now, e.g. ``3 of 108 answers are kept``."""
    if not work:
        return "what was done before is kept"
    stage = list(work.values())[-1]
    least = "at least " if stage.is_at_least and stage.num_kept < stage.num_total else ""
    return f"{least}{stage.num_kept} of {stage.num_total} {stage.unit} are kept"


def is_nothing_left(work: Work) -> bool:
    """Whether the command found everything done."""
    return all(
        stage.num_kept == stage.num_total and not stage.num_new and not stage.cache.num_encoded
        for stage in work.values()
    )
