"""The report of ``encodeonce bench kv``, and what is stored of it."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from encodeonce.harness.bench.kv import TRANSFORMERS, KVBench, Way
from encodeonce.harness.bench.machine import hardware
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
            f"{way.median_s:.3f} ({min(way.total_s):.3f} to {max(way.total_s):.3f})",
            *(f"{way.median_stage_s(stage):.3f}" for stage in _STAGES),
            f"{baseline.median_s / way.median_s:.2f}x",
            _ratio(decoding_s, way.median_stage_s("generate")),
            f"{way.tokens_per_s:.1f}",
            percent(way.kept_bytes / way.full_bytes, 1) if way.full_bytes else "-",
            human_bytes(way.kept_bytes),
            "-" if way.peak_bytes is None else human_bytes(way.peak_bytes),
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


def _ratio(baseline_s: float, seconds: float) -> str:
    return f"{baseline_s / seconds:.2f}x" if seconds > 0 else "-"


def to_json(bench: KVBench, ways: Sequence[Way], when: datetime) -> dict[str, Any]:
    """Return everything that was measured, and on what, as plain JSON values."""
    scene = bench.scene
    return {
        "date": when.isoformat(timespec="seconds"),
        "hardware": hardware(),
        "model": {**scene.model.model_dump(mode="json"), "path": scene.model_name},
        "media": {"kind": scene.kind, "name": scene.media.name},
        "frames": scene.frames.model_dump(mode="json"),
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
