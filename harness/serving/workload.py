"""Workloads: which samples the requests of a cell ask about, and what each of them takes."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from encodeonce.harness.run.record import Record
from encodeonce.harness.run.sizes import human_bytes
from encodeonce.harness.serving.adapters.load import adapters_asked
from encodeonce.harness.serving.answered import Answered, Asked
from encodeonce.harness.serving.arrivals import (
    ClosedSource,
    OpenSource,
    Source,
    arrival_times_s,
    choices,
    trace_rows,
)
from encodeonce.harness.serving.config import Experiment, ServeConfig
from encodeonce.harness.serving.ledger import Ledger
from encodeonce.harness.serving.loads import Arrivals, ClosedArrivals, Limits, TraceArrivals
from encodeonce.harness.serving.request import Demand
from encodeonce.harness.serving.trace import TraceRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """The requests of a cell."""

    asked: Sequence[Asked]
    """The sample of each request."""
    demands: Sequence[Demand]
    sha256: str
    """Digest of the demands."""
    arrivals: Arrivals
    """With a single rate."""
    num_short: int = 0
    """Rows of a trace whose prompt is shorter than its sample's: the sample's length counts."""
    num_fewer_media: int = 0
    """Rows of a trace for which no sample has as many media."""

    def source(self) -> Source:
        """Return the requests, none of which has arrived."""
        if isinstance(self.arrivals, ClosedArrivals):
            (concurrency,) = self.arrivals.concurrency
            return ClosedSource(self.demands, concurrency, self.arrivals.think_s)
        return OpenSource(arrival_times_s(self.arrivals), self.demands)


def make_workload(
    config: ServeConfig,
    experiment: Experiment,
    arrivals: Arrivals,
    known: Answered,
    token_bytes: int,
) -> Workload:
    """Return the requests of an experiment. Their samples do not depend on rate or experiment.

    Args:
        config: the run file.
        experiment: the experiment.
        arrivals: with a single rate.
        known: the samples.
        token_bytes: keys and values of one token, uncompressed.

    Raises:
        ValueError: a trace cannot be used.
    """
    rows = _recorded(config, arrivals)
    asked = _chosen(known, rows, arrivals.seed)
    under: Sequence[int | None] = [None] * len(rows)
    if config.adapters is not None:
        recorded = [row.adapter for row in rows if row is not None and row.adapter is not None]
        under = adapters_asked(config.adapters, arrivals.seed, len(rows), recorded)
    demands = [
        _demand(config, experiment, one, known, row, token_bytes, adapter)
        for one, row, adapter in zip(asked, rows, under, strict=True)
    ]
    names = [] if config.adapters is None else under
    return Workload(
        asked=asked,
        demands=demands,
        sha256=hashlib.sha256(f"{demands!r}{names or ''}".encode()).hexdigest(),
        arrivals=arrivals,
        num_short=sum(
            row is not None and row.num_prompt_tokens < demand.num_prompt_tokens
            for row, demand in zip(rows, demands, strict=True)
        ),
        num_fewer_media=sum(
            row is not None and row.num_images > len(one.group.media)
            for row, one in zip(rows, asked, strict=True)
        ),
    )


def _recorded(config: ServeConfig, arrivals: Arrivals) -> Sequence[TraceRow | None]:
    """Return what a trace says of each request; Nones where there is none."""
    if not isinstance(arrivals, TraceArrivals):
        return [None] * arrivals.requests
    column = None if config.adapters is None else config.adapters.column
    rows = trace_rows(arrivals, column)
    if arrivals.warmup >= len(rows):
        raise ValueError(
            f"arrivals.warmup: of {len(rows)} requests of the trace, {arrivals.warmup} at "
            "warm-up leave none to count"
        )
    return rows


def check_fits(workload: Workload, experiment: Experiment, limits: Limits, ledger: Ledger) -> None:
    """Refuse limits under which a request could never be served.

    Raises:
        ValueError: names the limit and the sample.
    """
    (cap,) = limits.kv_bytes
    for demand in workload.demands:
        if (need := ledger.least(demand)) > cap:
            raise ValueError(
                f"limits.kv_bytes {human_bytes(cap)}: sample {demand.sample} needs "
                f"{human_bytes(need)} under {experiment.kv.title!r}, with its longest answer; "
                "allow more, or ask for shorter answers"
            )
        if demand.num_prompt_tokens > limits.prefill_tokens:
            raise ValueError(
                f"limits.prefill_tokens {limits.prefill_tokens}: the prompt of sample "
                f"{demand.sample} has {demand.num_prompt_tokens} tokens, and a prompt is not split"
            )


def _chosen(known: Answered, rows: Sequence[TraceRow | None], seed: int) -> list[Asked]:
    """Return each request's sample: one with as many media as the trace says, where there is."""
    order = choices(seed, len(rows), len(known.asked))
    most = max(len(one.group.media) for one in known.asked)
    found = []
    for number, row in zip(order, rows, strict=True):
        wanted = min(most, row.num_images if row else 0)
        turned = [*known.asked[number:], *known.asked[:number]]
        found.append(next(one for one in turned if len(one.group.media) >= wanted))
    return found


def _demand(
    config: ServeConfig,
    experiment: Experiment,
    asked: Asked,
    known: Answered,
    row: TraceRow | None,
    token_bytes: int,
    adapter: int | None,
) -> Demand:
    variant = config.variants_of(experiment)[adapter or 0]
    record = known.records.get((*asked.key, variant.name))
    if record is None:
        return _unknown(config, asked, row)
    num_tokens, max_tokens = _lengths(config, record, row)
    full_bytes = known.full_bytes.get(asked.key, record.num_prompt_tokens * token_bytes)
    kept_bytes = full_bytes if record.kv is None else record.kv.kept_bytes
    # A longer prompt costs as much more as it is longer.
    num_prompt_tokens = record.num_prompt_tokens
    if row is not None and config.time.mode == "virtual":
        num_prompt_tokens = max(num_prompt_tokens, row.num_prompt_tokens)
        full_bytes = full_bytes * num_prompt_tokens // record.num_prompt_tokens
        kept_bytes = kept_bytes * num_prompt_tokens // record.num_prompt_tokens
    # Keys and values are an adapter's own: prompts about the same media begin alike under one.
    media = asked.media if adapter is None else f"{asked.media}|{adapter}"
    return Demand(
        sample=asked.name,
        media=media,
        num_units=record.num_visual_units,
        num_prefix_tokens=record.num_prefix_tokens,
        num_prompt_tokens=num_prompt_tokens,
        num_tokens=num_tokens,
        max_tokens=max_tokens,
        full_bytes=full_bytes,
        kept_bytes=kept_bytes,
        token_bytes=token_bytes,
        is_compressed=not experiment.kv.is_full,
        reads_late=experiment.kv.scope == "media",
        adapter=adapter,
    )


def _unknown(config: ServeConfig, asked: Asked, row: TraceRow | None) -> Demand:
    """Return what is known of a request to a server elsewhere: its longest answer."""
    lengths = config.output_tokens
    most = config.generation.max_new_tokens
    if lengths.kind == "forced":
        most = lengths.tokens
    elif lengths.kind == "trace" and row is not None:
        most = row.num_tokens
    return Demand(
        sample=asked.name,
        media=asked.media,
        num_units=0,
        num_prefix_tokens=0,
        num_prompt_tokens=0,
        num_tokens=most,
        max_tokens=most,
        full_bytes=0,
        kept_bytes=0,
        token_bytes=0,
        is_compressed=False,
    )


def _lengths(config: ServeConfig, record: Record, row: TraceRow | None) -> tuple[int, int]:
    """Return an answer's length, and what it may be at most."""
    lengths = config.output_tokens
    if lengths.kind == "forced":
        return lengths.tokens, lengths.tokens
    if lengths.kind == "trace":
        assert row is not None
        return row.num_tokens, row.num_tokens
    return record.num_generated_tokens, config.generation.max_new_tokens
