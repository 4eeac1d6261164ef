"""The engine of virtual time: it knows what every action costs, and computes nothing."""

from collections.abc import Sequence

from encodeonce.harness.serving.adapters.costs import FASTEST, AdapterCosts
from encodeonce.harness.serving.adapters.modes import UNMERGED, Mode
from encodeonce.harness.serving.costs import Costs, VariantCosts, linear_s
from encodeonce.harness.serving.engine import Step, Work, first_token_stage
from encodeonce.harness.serving.request import Request


class SimulatedEngine:
    """Adds up seconds."""

    allocated_bytes = 0

    def __init__(self, costs: Costs, variant: str, *, encodes: bool, lora: str = FASTEST) -> None:
        """Serve under one variant.

        Args:
            costs: of the machine.
            variant: `Variant.name`.
            encodes: whether the tower runs; else features are read from the store.
            lora: how rows of different adapters are computed, where requests are under any.

        Raises:
            CostsError: the variant was not measured.
        """
        self._all = costs
        self._costs: VariantCosts = costs.of(variant)
        self._features = costs.encode if encodes else costs.fetch
        self._lora = lora
        self._merged: int | None = None

    def run(self, work: Work, requests: Sequence[Request], mode: Mode = UNMERGED) -> Step:
        """Return an action's seconds, and who has the last token by it."""
        seconds = self.seconds(work, requests, mode)
        if work in ("prefill", "compress", "decode") and mode.adapter != self._merged:
            seconds += self._all.adapters.switch_s if self._all.adapters else 0.0
            self._merged = mode.adapter
        ended = [
            one
            for one in requests
            if (work == "decode" or (work == first_token_stage(one) and not one.times_s))
            and one.num_emitted + 1 >= one.demand.num_tokens
        ]
        return Step(seconds=seconds, ended=ended)

    def seconds(self, work: Work, requests: Sequence[Request], mode: Mode) -> float:
        """Return what an action would take; switching aside."""
        seconds = {
            "encode": self._encode,
            "prefill": self._prefill,
            "compress": self._compress,
            "decode": self._decode,
            "swap_out": self._swap,
            "swap_in": self._swap,
        }[work](requests)
        if self._all.adapters is not None and work in ("prefill", "compress", "decode"):
            seconds += self._adapted_s(self._all.adapters, work, requests, mode)
        return seconds

    def _adapted_s(
        self, costs: AdapterCosts, work: Work, requests: Sequence[Request], mode: Mode
    ) -> float:
        """Return the seconds that the requests' adapters add."""
        demands = [one.demand for one in requests]
        if work == "decode":
            return costs.decode_s(self._lora, mode, [one.adapter for one in demands])
        total = 0.0
        for one, demand in zip(requests, demands, strict=True):
            num_tokens = demand.num_question_tokens if work == first_token_stage(one) else 0
            if work == "prefill" and not one.is_hit:
                num_tokens += demand.num_prefix_tokens
            total += costs.prompt_s(mode, demand.adapter, num_tokens)
        return total

    def drop(self, request: Request) -> None:
        """Do nothing."""

    def forget(self, media: str) -> None:
        """Do nothing."""

    def _encode(self, requests: Sequence[Request]) -> float:
        return sum(linear_s(self._features, one.demand.num_units) for one in requests)

    def _prefill(self, requests: Sequence[Request]) -> float:
        total = 0.0
        for one in requests:
            demand = one.demand
            if not one.is_hit:
                total += self._costs.prefill_s(demand.num_prefix_tokens)
            if not demand.reads_late:
                total += self._costs.read_s(demand.num_question_tokens, demand.num_prefix_tokens)
            if not demand.is_compressed:
                total += self._again(one, demand.num_prompt_tokens)
        return total

    def _compress(self, requests: Sequence[Request]) -> float:
        total = 0.0
        for one in requests:
            demand = one.demand
            num_kept = demand.kept_bytes // demand.token_bytes
            if demand.reads_late:
                total += self._costs.compress_s(demand.num_prefix_tokens)
                total += self._costs.read_s(demand.num_question_tokens, num_kept)
            else:
                total += self._costs.compress_s(demand.num_prompt_tokens)
            total += self._again(one, num_kept)
        return total

    def _again(self, request: Request, num_cached: int) -> float:
        """Return the seconds of reading what was emitted before the cache was dropped."""
        num_fed = request.num_emitted - 1
        return self._costs.read_s(num_fed, num_cached) if num_fed > 0 else 0.0

    def _decode(self, requests: Sequence[Request]) -> float:
        num_bytes = sum(
            one.demand.kept_bytes + one.num_emitted * one.demand.token_bytes for one in requests
        )
        return self._costs.decode_s(len(requests), num_bytes)

    def _swap(self, requests: Sequence[Request]) -> float:
        return sum(
            linear_s(
                self._all.swap, one.demand.kept_bytes + one.num_emitted * one.demand.token_bytes
            )
            for one in requests
        )
