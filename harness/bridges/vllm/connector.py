"""An encoder-cache connector for vLLM that keeps encoder outputs in our store.

vLLM makes one beside its scheduler and one in each worker. The scheduler's reads the store before
an item is scheduled, checksums and all, and hands what it read to the workers with the step: so
damage is a miss, found while there is still time to run the encoder. The first worker's writes.
docs/vllm.md says how a server is told to use it.
"""

from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from vllm.distributed.ec_transfer.ec_connector.base import (
    ECConnectorBase,
    ECConnectorMetadata,
    ECConnectorRole,
    ECConnectorWorkerMetadata,
)
from vllm.distributed.ec_transfer.ec_connector.metrics import ECConnectorStats
from vllm.platforms import current_platform

from encodeonce.harness.bridges.vllm.encoder_store import Array, EncoderStore
from encodeonce.harness.bridges.vllm.identity import provenance_of, signature_of
from encodeonce.harness.bridges.vllm.metrics import StoreMetrics, StoreStats
from encodeonce.models.checkpoint.tensors import to_array, to_tensor

OPTIONS = ("path", "read_only", "codec")
MAX_READY_BYTES = 2**30
"""Most bytes that were read for items whose turn has not come yet."""


@dataclass
class Outputs(ECConnectorMetadata):  # type: ignore[misc]  # vLLM may not be installed
    """The outputs (N, D) that a step's workers need, by identifier."""

    arrays: dict[str, Array] = field(default_factory=dict)


@dataclass
class Done(ECConnectorWorkerMetadata):  # type: ignore[misc]  # vLLM may not be installed
    """What the writing worker did in a step."""

    counts: dict[str, int]

    def aggregate(self, other: ECConnectorWorkerMetadata) -> ECConnectorWorkerMetadata:
        """Add another worker's counts; only one worker has any."""
        stats = StoreStats(data=self.counts).aggregate(StoreStats(data=other.counts))
        return Done(dict(stats.data))


class EncodeOnceConnector(ECConnectorBase):  # type: ignore[misc]  # vLLM may not be installed
    """Encoder outputs, computed once for all servers that share a folder."""

    def __init__(self, vllm_config: Any, role: ECConnectorRole) -> None:
        """Open the store.

        Args:
            vllm_config: of vLLM; ``ec_connector_extra_config`` has ``path``, and may have
                ``read_only`` and ``codec``.
            role: whose connector it is.

        Raises:
            ValueError: an option is unknown or missing, or outputs cannot be told apart.
        """
        super().__init__(vllm_config=vllm_config, role=role)
        options = _options(vllm_config.ec_transfer_config.ec_connector_extra_config)
        self._store = EncoderStore(
            Path(str(options["path"])).expanduser() / "features",
            signature_of(vllm_config),
            provenance_of(vllm_config),
            read_only=bool(options.get("read_only", False)) or not self.is_producer,
            codec=str(options.get("codec", "zstd")),
        )
        self._is_writer = vllm_config.parallel_config.rank == 0
        self._ready: OrderedDict[str, Array] = OrderedDict()
        self._to_load: dict[str, Array] = {}
        self._num_encoded = 0
        self._from_workers: dict[str, int] = {}

    # The scheduler's.

    def has_cache_item(self, identifier: str) -> bool:
        """Say whether the store has an item; it is read and checked, and held until its turn.

        Where nothing is consumed, it is enough that it is there: it need not be encoded again.
        """
        if not self.is_consumer:
            return self._store.has(identifier)
        if identifier in self._ready or identifier in self._to_load:
            return True
        found = self._store.find(identifier)
        if found is None:
            return False
        self._ready[identifier] = found
        while (
            len(self._ready) > 1 and sum(a.nbytes for a in self._ready.values()) > MAX_READY_BYTES
        ):
            self._ready.popitem(last=False)
        return True

    def update_state_after_alloc(self, request: Any, index: int) -> None:
        """Note that vLLM has made room for an item: if it was found, the next step loads it."""
        identifier = request.mm_features[index].identifier
        if identifier in self._ready:
            self._to_load[identifier] = self._ready.pop(identifier)

    def build_connector_meta(self, scheduler_output: Any) -> Outputs:
        """Hand over what the next step loads."""
        outputs, self._to_load = Outputs(self._to_load), {}
        return outputs

    def update_connector_output(self, connector_output: Any) -> None:
        """Take note of what the workers did."""
        if isinstance(connector_output.ec_connector_worker_meta, Done):
            done = connector_output.ec_connector_worker_meta.counts
            stats = StoreStats(data=self._from_workers).aggregate(StoreStats(data=done))
            self._from_workers = stats.data

    def get_ec_connector_stats(self) -> ECConnectorStats | None:
        """Return what was done since the last call, by the scheduler and the workers."""
        done, self._from_workers = self._from_workers, {}
        return StoreStats(data=done).aggregate(StoreStats(data=self._store.take_counts()))

    # The workers'.

    def start_load_caches(self, encoder_cache: dict[str, torch.Tensor], **kwargs: Any) -> None:
        """Put the step's outputs where vLLM looks for them."""
        outputs = self._get_connector_metadata()
        assert isinstance(outputs, Outputs)
        device = torch.device(current_platform.device_type)
        for identifier, array in outputs.arrays.items():
            if identifier not in encoder_cache:
                encoder_cache[identifier] = to_tensor(array, device)

    def save_caches(
        self, encoder_cache: dict[str, torch.Tensor], mm_hash: str, **kwargs: Any
    ) -> None:
        """Keep what the encoder has just computed."""
        if not self._is_writer:
            return
        self._num_encoded += 1
        self._store.keep(mm_hash, to_array(encoder_cache[mm_hash].detach().cpu()))

    def build_connector_worker_meta(self) -> Done | None:
        """Tell the scheduler what was done in this step."""
        num_encoded, self._num_encoded = self._num_encoded, 0
        counts = {"encoded": num_encoded, **self._store.take_counts()}
        counts = {name: count for name, count in counts.items() if count}
        return Done(counts) if counts else None

    # Both.

    def shutdown(self) -> None:
        """Wait until everything that was kept is durable."""
        self._store.close()

    @classmethod
    def build_ec_connector_stats(cls, data: dict[str, Any] | None = None) -> StoreStats:
        """Return counts that were sent between processes."""
        return StoreStats(data=data or {})

    @classmethod
    def build_prom_metrics(cls, *arguments: Any) -> StoreMetrics:
        """Return the Prometheus counters."""
        return StoreMetrics(*arguments)


def _options(given: dict[str, Any]) -> dict[str, Any]:
    """Return the connector's options.

    Raises:
        ValueError: one is unknown, or there is no path.
    """
    if unknown := sorted(set(given) - set(OPTIONS)):
        raise ValueError(
            f"ec_connector_extra_config: {unknown[0]!r} is unknown. Allowed: {', '.join(OPTIONS)}"
        )
    if not given.get("path"):
        raise ValueError(
            'ec_connector_extra_config: no path; write {"path": "/shared/cache"}, a folder that '
            "all servers see"
        )
    return given
