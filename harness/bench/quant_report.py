"""The report of ``encodeonce bench quant``, and what is stored of it."""

import statistics
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from encodeonce.harness.bench.machine import hardware
from encodeonce.harness.bench.quant import Measurement, QuantBench
from encodeonce.harness.report.numbers import human_bytes
from encodeonce.harness.report.section import Section, Table


def sections(found: Sequence[Measurement]) -> list[Section]:
    """Return the report of a measurement."""
    plain = found[0]
    memory = [
        (
            one.name,
            human_bytes(one.loaded.bytes_by_part["layers"]),
            human_bytes(one.loaded.num_bytes),
            "-" if one.loaded.peak_bytes is None else human_bytes(one.loaded.peak_bytes),
            "-" if one.peak_bytes is None else human_bytes(one.peak_bytes),
        )
        for one in found
    ]
    speed = [
        (
            one.name,
            f"{one.loaded.load_s:.1f}",
            _spread(one.first_token_s, 3),
            _spread(one.tokens_per_s, 1),
            f"{statistics.median(one.tokens_per_s) / statistics.median(plain.tokens_per_s):.2f}x",
        )
        for one in found
    ]
    close = [
        (
            one.name,
            f"{one.closeness.first_token_kl:.2e}",
            f"{one.closeness.mean_kl:.2e}",
            f"{one.closeness.num_agreeing} of {one.closeness.num_tokens}",
            "yes" if one.same_answer else "no",
        )
        for one in found
    ]
    return [
        Section(
            title="Memory",
            table=Table(
                columns=("weights", "decoder layers", "all", "peak loading", "peak answering"),
                rows=tuple(memory),
            ),
            sentences=("Peaks are of the GPU's memory, or on a CPU of the whole process.",),
        ),
        Section(
            title="Speed",
            table=Table(
                columns=("weights", "loading, s", "first token, s", "tokens/s", "faster"),
                rows=tuple(speed),
            ),
            sentences=(
                "Medians (lowest to highest) after one answer that is not counted; features come "
                "from the store. Tokens a second are those after the first.",
            ),
        ),
        Section(
            title="Closeness to the unquantised model",
            table=Table(
                columns=("weights", "KL, first token", "mean KL", "same likeliest", "same answer"),
                rows=tuple(close),
            ),
            sentences=(
                "KL(none || variant) in nats, teacher-forced on the unquantised model's answer. "
                "One prompt: for accuracies run a benchmark.",
            ),
        ),
    ]


def to_json(bench: QuantBench, found: Sequence[Measurement], when: datetime) -> dict[str, Any]:
    """Return everything that was measured, and on what, as plain JSON values."""
    scene = bench.scene
    return {
        "date": when.isoformat(timespec="seconds"),
        "hardware": hardware(),
        "model": {**scene.model.model_dump(mode="json"), "path": scene.model_name},
        "media": {"kind": scene.kind, "name": scene.media.name},
        "frames": scene.frames.model_dump(mode="json"),
        "question": bench.question,
        "num_runs": bench.num_runs,
        "num_new_tokens": bench.num_new_tokens,
        "variants": [{**asdict(one), "tokens_per_s": one.tokens_per_s} for one in found],
    }


def _spread(values: Sequence[float], digits: int) -> str:
    low, middle, high = (f"{f(values):.{digits}f}" for f in (min, statistics.median, max))
    return f"{middle} ({low} to {high})"
