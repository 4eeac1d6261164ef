"""The report of ``encodeonce bench quant``, in the terminal and as JSON."""

import statistics
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from encodeonce.harness.bench.cells import bytes_or_absent, spread, times
from encodeonce.harness.bench.quant import Measurement, QuantBench
from encodeonce.harness.bench.result_file import describe_scene
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
            bytes_or_absent(one.loaded.peak_bytes),
            bytes_or_absent(one.peak_bytes),
        )
        for one in found
    ]
    speed = [
        (
            one.name,
            f"{one.loaded.load_s:.1f}",
            spread(one.first_token_s),
            spread(one.tokens_per_s, 1),
            times(statistics.median(one.tokens_per_s) / statistics.median(plain.tokens_per_s)),
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
            sentences=("Peaks are of GPU memory, or, on a CPU, of the whole process.",),
        ),
        Section(
            title="Speed",
            table=Table(
                columns=("weights", "loading, s", "first token, s", "tokens/s", "faster"),
                rows=tuple(speed),
            ),
            sentences=(
                "Medians (lowest to highest) after one uncounted answer; features come "
                "from the store. Tokens per second are those after the first.",
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
                "This is one prompt: for accuracy, run a benchmark.",
            ),
        ),
    ]


def to_json(bench: QuantBench, found: Sequence[Measurement]) -> dict[str, Any]:
    """Return all measurements and their circumstances as plain JSON values."""
    return {
        **describe_scene(bench.scene),
        "question": bench.question,
        "num_runs": bench.num_runs,
        "num_new_tokens": bench.num_new_tokens,
        "variants": [{**asdict(one), "tokens_per_s": one.tokens_per_s} for one in found],
    }
