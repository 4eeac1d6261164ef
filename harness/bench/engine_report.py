"""The report of ``encodeonce bench engine``, in the terminal and as JSON."""

import statistics
from dataclasses import asdict
from typing import Any

from encodeonce.harness.bench.cells import ABSENT, spread, times
from encodeonce.harness.bench.engine import EngineBench, EngineResult, Way
from encodeonce.harness.bench.result_file import describe_scene
from encodeonce.harness.report.section import Section, Table

BASELINE = 1
"""The way that others are compared with: transformers' own, with a shared prefix."""


def sections(bench: EngineBench, result: EngineResult) -> list[Section]:
    """Return the report of a measurement, in tables that fit a terminal."""
    return [_speed(bench, result), _stages(bench, result), _limits(result)]


def _speed(bench: EngineBench, result: EngineResult) -> Section:
    baseline = result.ways[BASELINE]
    rows = [
        (
            way.name,
            str(way.batch),
            spread([1e3 * total / bench.num_answers for total in way.total_s], digits=1),
            f"{bench.num_answers * bench.num_new_tokens / way.median_s:.1f}",
            spread(_ratios(baseline, way), digits=2),
            f"{way.num_same} of {bench.num_answers}",
        )
        for way in result.ways
    ]
    columns = ("way", "batch", "ms an answer", "tokens/s", "faster", "same tokens")
    questions = len(bench.questions)
    return Section(
        title=f"{bench.num_pictures} pictures x {questions} questions x {bench.num_new_tokens} "
        "tokens, features given",
        table=Table(columns=columns, rows=tuple(rows)),
        sentences=(
            f"Medians (lowest to highest) of {bench.num_rounds} rounds, ways interleaved, after a "
            f"round that is not counted. 'faster': than {baseline.name!r}, in the same round. "
            "'same tokens': answers with the tokens of the first way.",
            "The engine's attention: "
            + ", ".join(f"{part} {name}" for part, name in result.kernels.items())
            + ".",
        ),
    )


def _ratios(baseline: Way, way: Way) -> list[float]:
    return [a / b for a, b in zip(baseline.total_s, way.total_s, strict=True)]


def _stages(bench: EngineBench, result: EngineResult) -> Section:
    rows = []
    for way in result.ways:
        if any(spent.decode_s for spent in way.spent):
            stages = zip(*((s.prefill_s, s.read_s, s.decode_s) for s in way.spent), strict=True)
            cells = (spread([1e3 * s / bench.num_answers for s in one], digits=1) for one in stages)
            rows.append((way.name, *cells))
    columns = ("way", "prefix, ms", "questions, ms", "decode, ms")
    return Section(
        title="Milliseconds an answer by stage",
        table=Table(columns=columns, rows=tuple(rows)),
        sentences=(
            f"A prefix has {result.num_prefix_tokens} tokens, and is prefilled once for "
            f"{len(bench.questions)} answers.",
        ),
    )


def _limits(result: EngineResult) -> Section:
    flops = [limit.flops / 1e9 for limit in result.limits]
    bandwidth = [limit.bandwidth / 1e9 for limit in result.limits]
    share = result.share
    rows = [
        ("matrix product, GFLOP/s", spread(flops, digits=1), _percent(share.prefill)),
        ("memory read, GB/s", spread(bandwidth, digits=1), _percent(share.decode)),
    ]
    columns = ("the machine's limit", "measured", "reached")
    return Section(
        title="What this machine can do, and how much of it was reached",
        table=Table(columns=columns, rows=tuple(rows)),
        sentences=(
            f"Of the last way. First line: prefill of the prefixes. Second line: decode steps, "
            f"against the larger of two times, reading {result.num_parameters / 1e6:.0f} M "
            "parameters and every prefix once, and computing all rows.",
        ),
    )


def _percent(shares: tuple[float, ...]) -> str:
    if not any(shares):
        return ABSENT
    low, middle, high = (f"{100 * f(shares):.0f}" for f in (min, statistics.median, max))
    return f"{middle} % ({low}–{high})"


def headline(result: EngineResult) -> str:
    """Return the measurement in one line."""
    baseline, last = result.ways[BASELINE], result.ways[-1]
    ratio = times(statistics.median(_ratios(baseline, last)))
    return f"{last.name} ({last.batch} rows): {ratio} as fast as {baseline.name}"


def to_json(bench: EngineBench, result: EngineResult) -> dict[str, Any]:
    """Return all measurements and their circumstances as plain JSON values."""
    described = describe_scene(bench.scene)
    return {
        **{name: described[name] for name in ("model", "vision")},
        "num_pictures": bench.num_pictures,
        "questions": list(bench.questions),
        "num_new_tokens": bench.num_new_tokens,
        "num_rounds": bench.num_rounds,
        **asdict(result),
    }
