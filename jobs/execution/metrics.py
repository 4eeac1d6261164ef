"""What a run has done, as metrics for Prometheus, through Ray's own metrics API.

Ray exports them beside its own, with the prefix ``ray_``, from the node that the driver is on; that
takes ``ray[default]``. `jobs/templates/grafana-dashboard.json` shows them.
"""

from collections.abc import Mapping
from typing import Any

from encodeonce.harness.run.record import CacheUse

COUNTERS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "encodeonce_items_total": (
        "Media items or answers accounted for, errors included.",
        ("stage",),
    ),
    "encodeonce_errors_total": ("Of these, those with an error.", ("stage", "type")),
    "encodeonce_units_total": (
        "Units looked up in the store, by whether they were there.",
        ("stage", "result"),
    ),
    "encodeonce_bytes_total": (
        "Bytes of features read from the store and written to it, uncompressed.",
        ("stage", "direction"),
    ),
    "encodeonce_seconds_total": (
        "Seconds that workers spent on each part of the work.",
        ("stage", "part"),
    ),
}
"""Name, meaning and labels of what only grows."""

WORKERS = "encodeonce_workers_alive"


class Metrics:
    """Counts nothing: for runs without Ray."""

    def count(
        self,
        stage: str,
        *,
        cache: CacheUse,
        seconds: Mapping[str, float],
        error: str | None = None,
    ) -> None:
        """Count one media item or answer.

        Args:
            stage: ``"precompute"``, ``"evaluate"`` or ``"uncached"``.
            cache: what it cost in units and bytes.
            seconds: by part of the work.
            error: type of the error that it has in place of a result.
        """

    def workers(self, num_alive: int) -> None:
        """Take note of how many workers there are."""


class RayMetrics(Metrics):
    """Counts in Ray's metrics. They are made at the first use, when Ray is there."""

    def __init__(self) -> None:
        self._made: dict[str, Any] = {}

    def count(
        self,
        stage: str,
        *,
        cache: CacheUse,
        seconds: Mapping[str, float],
        error: str | None = None,
    ) -> None:
        """Count one media item or answer; see `Metrics.count`."""
        self._add("encodeonce_items_total", 1, stage=stage)
        if error is not None:
            self._add("encodeonce_errors_total", 1, stage=stage, type=error)
        misses = cache.num_units - cache.num_hits
        for result, number in (("hit", cache.num_hits), ("miss", misses)):
            self._add("encodeonce_units_total", number, stage=stage, result=result)
        moved = {"read": cache.bytes_read, "written": cache.bytes_written}
        for direction, number in moved.items():
            self._add("encodeonce_bytes_total", number, stage=stage, direction=direction)
        for part, spent_s in seconds.items():
            self._add("encodeonce_seconds_total", spent_s, stage=stage, part=part)

    def workers(self, num_alive: int) -> None:
        """Take note of how many workers there are."""
        from ray.util.metrics import Gauge

        if WORKERS not in self._made:
            self._made[WORKERS] = Gauge(WORKERS, "Workers that are ready or at work.")
        self._made[WORKERS].set(num_alive)

    def _add(self, name: str, amount: float, **labels: str) -> None:
        from ray.util.metrics import Counter

        if amount <= 0:  # Ray refuses to add nothing
            return
        if name not in self._made:
            meaning, keys = COUNTERS[name]
            self._made[name] = Counter(name, meaning, keys)
        self._made[name].inc(amount, labels)
