"""The report of ``encodeonce bench prefix``, in the terminal and as JSON."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from encodeonce.harness.bench.cells import ABSENT, bytes_or_absent, spread, times
from encodeonce.harness.bench.prefix import Encoding, Measurement, PrefixBench, PrefixResult
from encodeonce.harness.bench.result_file import describe_scene
from encodeonce.harness.report.numbers import human_bytes, human_count
from encodeonce.harness.report.section import Section, Table


def sections(result: PrefixResult) -> list[Section]:
    """Return the report of a measurement, in tables that fit a terminal."""
    return [
        _encoding(result.encoding),
        _speed(result.ways),
        _memory(result.ways),
        _stages(result),
    ]


def _encoding(found: Encoding) -> Section:
    return Section(
        title="Encoding the media, once for all questions",
        sentences=(
            f"{spread(found.total_s)} s for {human_count(found.num_units, 'unit')}; features of "
            f"{human_bytes(found.feature_bytes)}. All ways but the first start with these features "
            "in the store.",
        ),
    )


def _speed(found: Sequence[Measurement]) -> Section:
    baseline = found[0].median_s
    rows = [
        (
            one.name,
            spread(one.first_token_s),
            spread(one.total_s),
            times(baseline / one.median_s),
        )
        for one in found
    ]
    columns = ("way", "first token, s", "all answers, s", "faster")
    return Section(
        title="All questions on one media item",
        table=Table(columns=columns, rows=tuple(rows)),
        sentences=("Medians (lowest to highest) after one uncounted run.",),
    )


def _memory(found: Sequence[Measurement]) -> Section:
    rows = [
        (
            one.name,
            f"{one.tokens_per_s:.1f}",
            bytes_or_absent(one.peak_bytes),
            human_bytes(one.kv_bytes) if one.kv_bytes else ABSENT,
            f"{one.num_same_as_no_cache} of {one.num_answers}",
        )
        for one in found
    ]
    columns = ("way", "tokens/s", "peak memory", "shared KV", "same tokens")
    return Section(
        title="Throughput, memory, and whether answers agree",
        table=Table(columns=columns, rows=tuple(rows)),
        sentences=(
            "'shared KV': keys and values that all questions share; 'same tokens': answers with "
            "the same tokens as without a cache.",
        ),
    )


def _stages(result: PrefixResult) -> Section:
    named = {"encoding": result.encoding.stages_s}
    named |= {one.name: one.stages_s for one in result.ways}
    stages = dict.fromkeys(stage for seconds in named.values() for stage in seconds)
    rows = [
        (
            stage,
            *(
                f"{seconds[stage]:.3f}" if stage in seconds else ABSENT
                for seconds in named.values()
            ),
        )
        for stage in stages
    ]
    return Section(
        title="Seconds by stage",
        table=Table(columns=("stage", *named), rows=tuple(rows)),
        sentences=(
            "Means over runs, all questions together; 'encode' is the tower, 'generate' the decode "
            "steps after the first token. Without a cache, preprocessing and tower are part of "
            "'prepare' and 'prefill'.",
        ),
    )


def to_json(bench: PrefixBench, result: PrefixResult) -> dict[str, Any]:
    """Return all measurements and their circumstances as plain JSON values."""
    return {
        **describe_scene(bench.scene),
        "questions": list(bench.questions),
        "num_runs": bench.num_runs,
        "num_new_tokens": bench.num_new_tokens,
        "max_batch": bench.max_batch,
        "encoding": {**asdict(result.encoding), "median_s": result.encoding.median_s},
        "ways": [
            {**asdict(one), "median_s": one.median_s, "tokens_per_s": one.tokens_per_s}
            for one in result.ways
        ],
    }
