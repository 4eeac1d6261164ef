"""What a user must know of a benchmark before running it: what it asks, and where its data is."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """One row of the table that `encodeonce benchmarks` prints."""

    title: str
    """The benchmark's published name, and in a few words what it asks."""
    media: str
    """``"images"``, ``"videos"`` or ``"both"``."""
    source: str
    """Where it was published: a URL, or the paper."""
    download: str
    """What to download, under which licence, and where to put it."""
