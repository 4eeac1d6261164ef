"""The report of ``encodeonce bench kv``, in the terminal and as JSON."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from encodeonce.harness.bench.cells import ABSENT, bytes_or_absent, spread, times
from encodeonce.harness.bench.kv import TRANSFORMERS, KVBench, Way
from encodeonce.harness.bench.result_file import describe_scene
from encodeonce.harness.report.numbers import human_bytes, percent
from encodeonce.harness.report.section import Section, Table

_STAGES = ("prefill", "compress", "generate")


def sections(ways: Sequence[Way]) -> list[Section]:
    """Return the report of a measurement: a table for each batch size."""
    return [
        _batch([way for way in ways if way.batch == batch], batch)
        for batch in dict.fromkeys(way.batch for way in ways)
    ]


def _batch(ways: Sequence[Way], batch: int) -> Section:
    (baseline,) = [way for way in ways if way.name == TRANSFORMERS]
    decoding_s = baseline.median_stage_s("generate")
    rows = [
        (
            way.name,
            spread(way.total_s),
            *(f"{way.median_stage_s(stage):.3f}" for stage in _STAGES),
            times(baseline.median_s / way.median_s),
            times(_ratio(decoding_s, way.median_stage_s("generate"))),
            f"{way.tokens_per_s:.1f}",
            percent(way.kept_bytes / way.full_bytes, 1) if way.full_bytes else ABSENT,
            human_bytes(way.kept_bytes),
            bytes_or_absent(way.peak_bytes),
        )
        for way in ways
    ]
    columns = (
        "cache",
        "all, s",
        *(f"{stage}, s" for stage in _STAGES),
        "faster",
        "decode faster",
        "tokens/s",
        "kept",
        "KV",
        "peak memory",
    )
    prompt, new = baseline.num_prompt_tokens, baseline.num_generated_tokens // batch
    return Section(
        title=f"Batch of {batch}: prompts of {prompt} tokens, {new} new tokens",
        table=Table(columns=columns, rows=tuple(rows)),
        sentences=(
            "Medians (lowest to highest) over interleaved runs, after one run that is not counted. "
            "The media's tokens are prefilled once for the batch in every way; 'kept' are bytes of "
            "the prompts' keys and values, measured. A model that ends an answer early gives fewer "
            "tokens than asked for.",
        ),
    )


def _ratio(baseline_s: float, seconds: float) -> float | None:
    return baseline_s / seconds if seconds > 0 else None


def to_json(bench: KVBench, ways: Sequence[Way]) -> dict[str, Any]:
    """Return everything that was measured, and on what, as plain JSON values."""
    return {
        **describe_scene(bench.scene),
        "num_runs": bench.num_runs,
        "num_new_tokens": bench.num_new_tokens,
        "ways": [
            {
                **asdict(way),
                "setting": way.setting.model_dump(mode="json"),
                "median_s": way.median_s,
                "tokens_per_s": way.tokens_per_s,
            }
            for way in ways
        ],
    }
