"""The report of ``encodeonce bench prefix``, and what is stored of it."""

import statistics
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from encodeonce.harness.bench.machine import hardware
from encodeonce.harness.bench.prefix import Encoding, Measurement, PrefixBench, PrefixResult
from encodeonce.harness.report.numbers import human_bytes, human_count
from encodeonce.harness.report.section import Section, Table


def sections(result: PrefixResult) -> list[Section]:
    """Return the report of a measurement."""
    return [_encoding(result.encoding), _ways(result.ways), _stages(result)]


def _encoding(found: Encoding) -> Section:
    return Section(
        title="Encoding the media, once for all",
        sentences=(
            f"{_spread(found.total_s)} s for {human_count(found.num_units, 'unit')}; features of "
            f"{human_bytes(found.feature_bytes)}. All ways but the first begin after it.",
        ),
    )


def _ways(found: Sequence[Measurement]) -> Section:
    baseline = found[0].median_s
    rows = [
        (
            one.name,
            _spread(one.first_token_s),
            _spread(one.total_s),
            f"{baseline / one.median_s:.2f}x",
            f"{one.tokens_per_s:.1f}",
            "-" if one.peak_bytes is None else human_bytes(one.peak_bytes),
            human_bytes(one.kv_bytes) if one.kv_bytes else "-",
            f"{one.num_same_as_no_cache} of {one.num_answers}",
        )
        for one in found
    ]
    columns = (
        "way",
        "first token, s",
        "all answers, s",
        "faster",
        "tokens/s",
        "peak memory",
        "shared KV",
        "same tokens",
    )
    return Section(
        title="All questions on one media",
        table=Table(columns=columns, rows=tuple(rows)),
        sentences=("Medians (lowest to highest) after one run that is not counted.",),
    )


def _stages(result: PrefixResult) -> Section:
    named = {"encoding": result.encoding.stages_s}
    named |= {one.name: one.stages_s for one in result.ways}
    stages = dict.fromkeys(stage for seconds in named.values() for stage in seconds)
    rows = [
        (name, *(f"{seconds.get(stage, 0.0):.3f}" for stage in stages))
        for name, seconds in named.items()
    ]
    return Section(
        title="Seconds by stage",
        table=Table(columns=("way", *stages), rows=tuple(rows)),
        sentences=(
            "Means over runs, all questions together; 'encode' is the tower, 'generate' the decode "
            "steps after the first token. Without a cache, preprocessing and tower are part of "
            "'prepare' and 'prefill'.",
        ),
    )


def to_json(bench: PrefixBench, result: PrefixResult, when: datetime) -> dict[str, Any]:
    """Return everything that was measured, and on what, as plain JSON values."""
    return {
        "date": when.isoformat(timespec="seconds"),
        "hardware": hardware(),
        "model": {**bench.scene.model.model_dump(mode="json"), "path": bench.scene.model_name},
        "vision": bench.scene.vision.model_dump(mode="json"),
        "media": {"kind": bench.scene.kind, "name": bench.scene.media.name},
        "frames": bench.scene.frames.model_dump(mode="json"),
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


def _spread(seconds: Sequence[float]) -> str:
    return f"{statistics.median(seconds):.3f} ({min(seconds):.3f} to {max(seconds):.3f})"
