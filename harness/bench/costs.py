"""Measures what the stages of serving cost, for virtual time (`harness/serving/costs.py`).

Every stage is run at several sizes, by the code that serves; rounds are interleaved over sizes and
variants, and a size's seconds are the median of the rounds. Variants that compute the same in a
stage share its measurements: a step does not know by which method its entries were chosen.
"""

import statistics
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import closing
from functools import partial
from typing import cast

import torch

from encodeonce.datasets.media.sampling import UniformInclusive
from encodeonce.harness.bench.adapters.costs import measure_adapters
from encodeonce.harness.bench.cost_points import CLOCKS, Arguments, Clock, CostPoints, Measured
from encodeonce.harness.run.config import RunConfig
from encodeonce.harness.run.plan import MediaGroup, make_plan
from encodeonce.harness.run.variant import Variant
from encodeonce.harness.serving.adapters.costs import AdapterCosts
from encodeonce.harness.serving.adapters.load import AdaptersLoad
from encodeonce.harness.serving.config import ServeConfig
from encodeonce.harness.serving.costs import num_places
from encodeonce.harness.workers.media_lookup import MediaRequest
from encodeonce.harness.workers.session import Session
from encodeonce.models.decoder import PrefixDecoder
from encodeonce.models.kv.prompts import needs_of
from encodeonce.models.kv.registry import find_method
from encodeonce.models.kv.spec import KVSpec
from encodeonce.models.language.context import PromptTooLong
from encodeonce.models.language.prefix import Prefix
from encodeonce.models.serving.pool import Served, ServingPool
from encodeonce.models.timing import synchronize
from encodeonce.models.vision.visual import Visual

SIZES = (0.25, 0.5, 0.75, 1.0, 1.5)
"""Of a prompt's media, relative to those of the run file."""
ROWS = (1, 2, 3, 4, 6, 8, 12, 16)
NUM_STEPS = 4
LONG_QUESTION = 8
"""How many times the longer of two questions is repeated."""
SWAPPED_MIB = (1, 4, 16)


def run_costs_bench(
    config: ServeConfig, num_rounds: int, on_run: Callable[[str], None]
) -> CostPoints:
    """Measure all stages of a run file's experiments.

    Args:
        config: the run file.
        num_rounds: of which the medians are taken; one more comes first and does not count.
        on_run: called before each part, with its name.

    Raises:
        ValueError: the model or the media cannot be used.
    """
    stages: dict[str, Measured] = {}
    names: list[str] = []
    shared: dict[str, str] = {}
    token_bytes = 0
    clock: Clock | None = None
    adapters: AdapterCosts | None = None
    for run in config.answers():
        with closing(_Job(run, stages, shared)) as job:
            for number in range(1 + num_rounds):
                job.is_counted = number > 0
                if not names:
                    on_run("features, and copies to host memory")
                    job.measure_features()
                    job.measure_swaps()
                for kv in run.kv:
                    on_run(Variant.of(run.weights[0], kv).name)
                    job.measure(kv)
            if config.adapters is not None and adapters is None:
                on_run("adapters")
                adapters = job.adapters(config.adapters, num_rounds)
            token_bytes, clock = job.token_bytes, job.clock
            names += [Variant.of(run.weights[0], kv).name for kv in run.kv]
    assert clock is not None, "a run file has experiments"
    return CostPoints(
        clock=clock,
        token_bytes=token_bytes,
        stages=stages,
        variants=tuple(names),
        shared=shared,
        adapters=adapters,
    )


def clock_of(device: torch.device) -> Clock:
    """Return what tells the seconds: of one thread its own, which others do not lengthen."""
    return "processor" if device.type == "cpu" and torch.get_num_threads() == 1 else "wall"


class _Job:
    """One weight variant's decoder, and prompts of several sizes."""

    def __init__(self, run: RunConfig, stages: dict[str, Measured], shared: dict[str, str]) -> None:
        self._shared, self._firsts = shared, dict[tuple[Hashable, ...], str]()
        self.is_counted = False
        self.token_bytes = 0
        self._stages = stages
        self._weights = run.weights[0]
        self._session = Session(run, on_miss="encode")
        group = make_plan(run).groups[0]
        self._requests = list(self._sized(group, run))
        for requests in self._requests:
            for request in requests:
                self._session.features.ensure(request)
        self._visuals = [[self._session.visual(one) for one in some] for some in self._requests]
        self._question = group.prompts[0]
        decoder = self._session.decoder_slot.put(self._weights)
        self._decoder = cast(PrefixDecoder, decoder)
        self.clock = clock_of(self._decoder.model.device)
        self._clock = CLOCKS[self.clock]

    def close(self) -> None:
        """Close the session."""
        self._session.close()

    def adapters(self, load: AdaptersLoad, num_rounds: int) -> AdapterCosts:
        """Return what adapters cost beside these weights."""
        return measure_adapters(self._decoder.model, load, num_rounds, self._clock)

    def measure_features(self) -> None:
        """Measure reading features, and computing them."""
        for requests in self._requests:
            num_units = (float(sum(len(one.units) for one in requests)),)
            self._timed("fetch", num_units, partial(self._fetch, requests))
            self._timed("encode", num_units, partial(self._encode, requests))

    def _fetch(self, requests: Sequence[MediaRequest]) -> None:
        for request in requests:
            self._session.visual(request)

    def _encode(self, requests: Sequence[MediaRequest]) -> None:
        for request in requests:
            self._session.features.encode(request, request.units)

    def measure_swaps(self) -> None:
        """Measure copying to host memory."""
        device = self._decoder.model.device
        for mib in SWAPPED_MIB:
            held = torch.ones(mib * 2**18, device=device)
            kept = torch.zeros(mib * 2**18)
            self._timed("swap", (float(held.nbytes),), partial(kept.copy_, held))

    def measure(self, kv: KVSpec) -> None:
        """Measure all stages of a setting at all sizes."""
        for number, visuals in enumerate(self._visuals):
            try:
                prefix = self._prefill(kv, visuals)
            except PromptTooLong:  # a model's context may end before the largest size
                continue
            if not self.token_bytes:
                self.token_bytes = prefix.nbytes // prefix.num_tokens
            pool = ServingPool(self._decoder.model, self._decoder.tokenizer)
            for question in (self._question, " ".join([self._question] * LONG_QUESTION)):
                self._ready(pool, kv, prefix, question)
            if number % 2 == 0:
                self._measure_decode(kv, visuals)

    def _measure_decode(self, kv: KVSpec, visuals: Sequence[Visual]) -> None:
        """Measure steps over ever more rows, each with a prompt of its own in memory."""
        pool = ServingPool(self._decoder.model, self._decoder.tokenizer)
        rows: list[Served] = []
        prefix = self._decoder.prefill(visuals, (kv,))
        for count in ROWS:
            while len(rows) < count:
                # Uncompressed rows look at their prefix: a shared one would be read from the cache.
                own = self._decoder.prefill(visuals, (kv,)) if kv.is_full else prefix
                rows.append(self._ready(pool, kv, own, self._question, is_timed=False))
                pool.join(rows[-1])
            taken = []
            num_bytes = 0
            for _ in range(NUM_STEPS):
                synchronize()
                start = self._clock()
                pool.step()
                synchronize()
                taken.append(self._clock() - start)
            num_bytes = sum(
                row.kept_bytes + len(row.row.answer.token_ids) * self.token_bytes for row in rows
            )
            arguments = (float(count), float(num_bytes), float(num_places(count)))
            self._add(self._name(kv, "decode"), arguments, statistics.median(taken))

    def _prefill(self, kv: KVSpec, visuals: Sequence[Visual]) -> Prefix:
        synchronize()
        start = self._clock()
        prefix = self._decoder.prefill(visuals, (kv,))
        synchronize()
        seconds = self._clock() - start
        self._add(self._name(kv, "prefill"), _attention(prefix.num_tokens, 0), seconds)
        return prefix

    def _ready(
        self, pool: ServingPool, kv: KVSpec, prefix: Prefix, question: str, is_timed: bool = True
    ) -> Served:
        """Return a request that can be decoded."""
        synchronize()
        start = self._clock()
        served = pool.read(prefix, question, kv, 10_000, is_forced=True)
        synchronize()
        read_s, start = self._clock() - start, self._clock()
        if not kv.is_full:
            pool.compress(served)
        synchronize()
        compress_s, start = self._clock() - start, self._clock()
        num_question, num_compressed = len(served.suffix), len(served.row.prompt)
        num_cached = prefix.num_tokens
        if kv.scope == "media":
            pool.read_late(served)
            synchronize()
            read_s = self._clock() - start
            num_compressed, num_cached = num_cached, served.kept_bytes // self.token_bytes
        if is_timed:
            self._add(self._name(kv, "read"), _attention(num_question, num_cached), read_s)
            if not kv.is_full:
                self._add(self._name(kv, "compress"), (float(num_compressed),), compress_s)
        return served

    def _name(self, kv: KVSpec, stage: str) -> str:
        """Return the name of a stage's measurements: that of the first variant that shares them."""
        name = f"{Variant.of(self._weights, kv).name}: {stage}"
        if name not in self._shared:
            key = (stage, *_work(kv, stage))
            self._shared[name] = self._firsts.setdefault(key, name)
        return self._shared[name]

    def _timed(self, stage: str, arguments: Arguments, work: Callable[[], object]) -> None:
        synchronize()
        start = self._clock()
        work()
        synchronize()
        self._add(stage, arguments, self._clock() - start)

    def _add(self, stage: str, arguments: Arguments, seconds: float) -> None:
        if self.is_counted:
            self._stages.setdefault(stage, Measured()).add(arguments, seconds)

    def _sized(self, group: MediaGroup, run: RunConfig) -> Iterator[list[MediaRequest]]:
        """Yield media for prompts of several sizes: more frames of a video, or more pictures."""
        usual = [self._session.look_up(group.root, ref, group.benchmark) for ref in group.media]
        if group.media[0].kind == "image":
            for count in range(1, len(SIZES) + 1):
                yield [usual[n % len(usual)] for n in range(count)]
            return
        num_frames = len(usual[0].units)
        for count in dict.fromkeys(max(1, round(size * num_frames)) for size in SIZES):
            sampling = UniformInclusive(num_frames=count)
            yield [self._session.look_up(group.root, group.media[0], group.benchmark, sampling)]


def _work(kv: KVSpec, stage: str) -> tuple[Hashable, ...]:
    """Return what a stage's work depends on besides its sizes."""
    method = find_method(kv)
    if stage == "prefill":
        return (repr(needs_of([kv])), kv.is_full)
    if stage == "read":
        over_whole = kv.scope == "question"
        return (
            over_whole,
            *((repr(needs_of([kv])), kv.is_full) if over_whole else (kv.precision,)),
        )
    if stage == "decode":
        evicts = method is not None and method.eviction(64, [32], 0.5) is not None
        return (kv.is_full, kv.precision, method if evicts else None)
    return (method, kv.keep, kv.precision, kv.scope)


def _attention(num_new: int, num_cached: int) -> Arguments:
    """Return tokens, and the pairs of tokens that attend to each other."""
    return (float(num_new), num_new * (num_cached + num_new / 2))
