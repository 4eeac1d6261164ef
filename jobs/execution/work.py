"""Items of work, attempts and outcomes, which queue, executors and workers exchange."""

import math
from dataclasses import dataclass
from typing import Any, Literal

Status = Literal["ok", "failed", "quarantined"]
Verdict = Literal["ok", "failed", "retry", "stop"]
"""``stop``: no later item would fare better, so the run ends; the item stays open."""


class WorkError(ValueError):
    """The work was described wrongly: duplicate ids, or meaningless weights or limits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkItem:
    """One piece of work: the unit that is handed out, retried and accounted for."""

    id: str
    payload: Any
    """What `Worker.do` is called with. Small and picklable: names and keys, never tensors."""
    weight: float = 1.0
    """Expected cost in any unit; only ratios matter. The heaviest items start first."""
    affinity: str = ""
    """What a worker has to prepare for it, e.g. which weights: workers keep to one affinity as long
    as there is work for it."""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.weight) and self.weight >= 0):
            raise WorkError(f"item {self.id!r}: weight must be finite and >= 0: {self.weight}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemError:
    """Why an item has no value."""

    type: str
    """Name of the exception class, or `LOST`, or `OVERDUE`."""
    message: str
    traceback: str = ""


LOST = "WorkerLost"
"""`ItemError.type` of an item whose worker process died while working on it."""
OVERDUE = "LeaseExpired"
"""`ItemError.type` of an item that took longer than its lease."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """A worker's report on one item."""

    item: str
    verdict: Verdict
    value: Any = None
    error: ItemError | None = None
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How an item ended. Every item has exactly one."""

    item: str
    status: Status
    """``failed``: the worker raised. ``quarantined``: the item killed its workers."""
    value: Any = None
    """JSON value that `Worker.do` returned; None unless `status` is ``ok``."""
    error: ItemError | None = None
    attempts: int
    """Number of attempts charged to it, the last one included."""
    seconds: float
    """Duration of the last attempt."""
    worker: str
    """Who made the last attempt, ``host:pid``: for people, not unique across containers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much a worker gets at once, and how long an item may take."""

    chunk_size: int = 1
    """Items handed out together. More than one pays off when an item takes only milliseconds."""
    max_in_flight: int = 2
    """Chunks a worker holds: the one it works on, and the next."""
    max_attempts: int = 3
    lease_s: float = 1800.0
    """Seconds one item may take before its worker counts as hanging."""

    retry_after_s: float = 5.0
    """Seconds until an item that met an error that may pass is tried again; doubled each time."""

    def __post_init__(self) -> None:
        for name in ("chunk_size", "max_in_flight", "max_attempts"):
            if getattr(self, name) < 1:
                raise WorkError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not self.lease_s > 0:
            raise WorkError(f"lease_s must be positive, got {self.lease_s}")
        if not (math.isfinite(self.retry_after_s) and self.retry_after_s >= 0):
            raise WorkError(f"retry_after_s must be finite and >= 0, got {self.retry_after_s}")
