"""The connector's counts in vLLM's own metrics: its log, and ``/metrics``."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

from vllm.distributed.ec_transfer.ec_connector.metrics import (
    ECConnectorPromMetrics,
    ECConnectorStats,
)
from vllm.v1.metrics.utils import create_metric_per_engine

COUNTERS = {
    "loaded": "Encoder outputs read from the store.",
    "loaded bytes": "Bytes of encoder outputs read from the store.",
    "encoded": "Encoder outputs that the encoder computed.",
    "stored": "Encoder outputs written to the store.",
    "stored bytes": "Bytes of encoder outputs written to the store.",
    "damaged": "Stored outputs whose checksums were wrong; they are computed again.",
    "failed": "Reads and writes that the store refused.",
    "named by clients": "Outputs that were not stored, as a client's name is no digest.",
}
"""What is counted, and how it is described."""


@dataclass
class StoreStats(ECConnectorStats):  # type: ignore[misc]  # vLLM may not be installed
    """Counts since the last step, in ``data``."""

    def reset(self) -> None:
        """Start again."""
        self.data: dict[str, int] = {}

    def aggregate(self, other: ECConnectorStats) -> ECConnectorStats:
        """Add another's counts."""
        return StoreStats(data=dict(Counter(self.data) + Counter(other.data)))

    def reduce(self) -> dict[str, int | float]:
        """Return the counts, for the log."""
        return {name: self.data[name] for name in COUNTERS if name in self.data}

    def is_empty(self) -> bool:
        """Say whether nothing was done."""
        return not self.data


class StoreMetrics(ECConnectorPromMetrics):  # type: ignore[misc]  # vLLM may not be installed
    """Prometheus counters named ``vllm:encodeonce_…``."""

    def __init__(self, *arguments: Any) -> None:
        """Register them."""
        super().__init__(*arguments)
        self._counters = {
            name: create_metric_per_engine(
                self._counter_cls(
                    name=f"vllm:encodeonce_{name.replace(' ', '_')}",
                    documentation=words,
                    labelnames=self._labelnames,
                ),
                self.per_engine_labelvalues,
            )
            for name, words in COUNTERS.items()
        }

    def observe(self, transfer_stats_data: dict[str, Any], engine_idx: int = 0) -> None:
        """Add counts."""
        for name, count in transfer_stats_data.items():
            self._counters[name][engine_idx].inc(count)
