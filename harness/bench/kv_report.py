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
    """Return the report of a measurement: tables for each batch size, each fitting a terminal."""
    found = []
    for batch in dict.fromkeys(way.batch for way in ways):
        alike = [way for way in ways if way.batch == batch]
        (baseline,) = [way for way in alike if way.name == TRANSFORMERS]
        found += [_speed(alike, baseline), _stages(alike, baseline), _memory(alike, batch)]
    return found


def _speed(ways: Sequence[Way], baseline: Way) -> Section:
    batch, prompt = baseline.batch, baseline.num_prompt_tokens
    new = baseline.num_generated_tokens // batch
    rows = [
        (
            way.name,
            spread(way.total_s),
            times(baseline.median_s / way.median_s),
            f"{way.tokens_per_s:.1f}",
        )
        for way in ways
    ]
    return Section(
        title=f"Batch of {batch}: prompts of {prompt} tokens, {new} new tokens",
        table=Table(columns=("cache", "all, s", "faster", "tokens/s"), rows=tuple(rows)),
        sentences=(
            "Medians (lowest to highest) over interleaved runs, after one uncounted run. Every way "
            "prefills the media's tokens once for the whole batch. A model that ends an answer "
            "early gives fewer tokens than asked for.",
        ),
    )


def _stages(ways: Sequence[Way], baseline: Way) -> Section:
    decoding_s = baseline.median_stage_s("generate")
    rows = [
        (
            way.name,
            *(f"{way.median_stage_s(stage):.3f}" for stage in _STAGES),
            times(_ratio(decoding_s, way.median_stage_s("generate"))),
        )
        for way in ways
    ]
    columns = ("cache", *(f"{stage}, s" for stage in _STAGES), "decode faster")
    return Section(
        title=f"Batch of {baseline.batch}: seconds by stage",
        table=Table(columns=columns, rows=tuple(rows)),
    )


def _memory(ways: Sequence[Way], batch: int) -> Section:
    rows = [
        (
            way.name,
            human_bytes(way.kept_bytes),
            percent(way.kept_bytes / way.full_bytes, 1) if way.full_bytes else ABSENT,
            bytes_or_absent(way.peak_bytes),
        )
        for way in ways
    ]
    columns = ("cache", "keys and values", "kept", "peak memory")
    return Section(
        title=f"Batch of {batch}: memory",
        table=Table(columns=columns, rows=tuple(rows)),
        sentences=(
            "'kept' is the measured share of the bytes of the prompts' keys and values. Peaks are "
            "of GPU memory, or, on a CPU, of the whole process.",
        ),
    )


def _ratio(baseline_s: float, seconds: float) -> float | None:
    return baseline_s / seconds if seconds > 0 else None


def to_json(bench: KVBench, ways: Sequence[Way]) -> dict[str, Any]:
    """Return all measurements and their circumstances as plain JSON values."""
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
