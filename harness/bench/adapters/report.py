"""The report of ``encodeonce bench adapters``, in the terminal and as JSON."""

import statistics
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from encodeonce.harness.bench.adapters.measure import USUAL, AdaptersBench
from encodeonce.harness.bench.adapters.peft_ways import NAMES
from encodeonce.harness.bench.adapters.result import AdaptersResult, Cell, Measurement
from encodeonce.harness.bench.cells import ABSENT, spread, times
from encodeonce.harness.bench.result_file import describe_scene
from encodeonce.harness.report.numbers import human_bytes, human_count
from encodeonce.harness.report.section import Section, Table
from encodeonce.harness.serving.adapters.peft_model import INSTALL

Seconds = Callable[[Measurement], list[float]]
"""Of a way, by round."""
MIXED = NAMES[2]


def sections(bench: AdaptersBench, result: AdaptersResult) -> list[Section]:
    """Return the report of a measurement."""
    found = []
    for cell in result.cells:
        found += [_decode(result, cell), _whole(bench, result, cell)]
    return [*found, _conditions(bench, result)]


def _title(cell: Cell) -> str:
    samples = human_count(cell.num_samples, "sample")
    return f"{human_count(cell.num_adapters, 'adapter')}, {samples} each"


def _decode(result: AdaptersResult, cell: Cell) -> Section:
    def decode_s(one: Measurement) -> list[float]:
        return [sum(taken.steps_s) for taken in one.rounds]

    rows = []
    for name, one in cell.ways.items():
        rows.append(
            (
                name,
                f"{one.num_batches} x {one.rows}",
                spread(decode_s(one), digits=3),
                *_ratios(cell, one, decode_s),
                f"{one.operations:.1f}",
                ABSENT if one.log_prob is None else f"{one.log_prob:.1g}",
                ABSENT if one.flips is None else str(one.flips),
            )
        )
    columns = ("way", "batches", "decode, s", "x base", "vs mixed", "vs sequential")
    return Section(
        title=f"{_title(cell)}: decode steps",
        table=Table(
            columns=(*columns, "ops a linear", "|Δ log p|", "flips"),
            rows=(*rows, *_missing(result, len(columns) + 3)),
        ),
        sentences=(
            "'x base': time over that of the same rows without adapters. 'vs mixed', 'vs "
            f"sequential': how many times faster than {MIXED!r}, and than the fastest way with one "
            "adapter a batch. 'ops a linear': operations that a step dispatches for each adapted "
            "layer, beyond the base's. |Δ log p| and flips: of the given tokens, against "
            f"{cell.reference!r}.",
        ),
    )


def _whole(bench: AdaptersBench, result: AdaptersResult, cell: Cell) -> Section:
    columns = ["way", "switches, s", "prefill, s", "x base"]
    for length in bench.num_tokens:
        columns += [f"{human_count(length, 'token')}, s", "vs mixed", "vs sequential"]
    rows = []
    for name, one in cell.ways.items():
        cells = [
            name,
            spread([taken.switch_s for taken in one.rounds]),
            spread(one.prefill_s()),
            _ratios(cell, one, Measurement.prefill_s)[0],
        ]
        for length in bench.num_tokens:
            seconds = _makespan(length)
            cells += [spread(seconds(one), digits=2), *_ratios(cell, one, seconds)[1:]]
        rows.append(tuple(cells))
    return Section(
        title=f"{_title(cell)}: prefill, and the whole job",
        table=Table(columns=tuple(columns), rows=(*rows, *_missing(result, len(columns)))),
    )


def _makespan(length: int) -> Seconds:
    return lambda one: one.makespan_s(length)


def _ratios(cell: Cell, one: Measurement, seconds: Seconds) -> tuple[str, str, str]:
    """Return a way's time over the base's, and the mixed and best sequential times over its."""
    base = next(iter(cell.ways.values()))
    own = ABSENT if one is base else times(ratio(seconds(one), seconds(base)))
    mixed = cell.ways.get(MIXED)
    against = None if mixed is None or one is base else ratio(seconds(mixed), seconds(one))
    best = None if one is base else ratio(_best(cell, seconds), seconds(one))
    return own, times(against), times(best)


def _best(cell: Cell, seconds: Seconds) -> list[float]:
    """Return the least seconds of the ways with one adapter a batch, by round."""
    sequential = [seconds(one) for name, one in cell.ways.items() if cell.is_sequential[name]]
    return [min(some) for some in zip(*sequential, strict=True)]


def ratio(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Return the median over rounds of one way's time over another's; None where there is none."""
    pairs = [(a, b) for a, b in zip(first, second, strict=True) if b]
    return statistics.median(a / b for a, b in pairs) if pairs else None


def _missing(result: AdaptersResult, num_columns: int) -> Iterator[tuple[str, ...]]:
    if not result.has_peft:
        for name in NAMES:
            yield (name, f"not installed: {INSTALL}", *[ABSENT] * (num_columns - 2))


def _conditions(bench: AdaptersBench, result: AdaptersResult) -> Section:
    of_what = "the processor's time" if result.clock == "processor" else "wall time"
    return Section(
        title="What was measured",
        bullets=(
            f"Medians (lowest to highest) of {human_count(bench.num_rounds, 'round')} in "
            f"{of_what}, ways interleaved, after a round that is not counted; ratios are medians "
            "of those of each round.",
            f"Every way reads the same {result.num_prompt_tokens} tokens of a prompt that begins "
            "with stored features, then the same given tokens, by the same loop over transformers' "
            f"own cache; at most {bench.max_batch} rows a batch. Longer prompts cost all ways the "
            "same attention, and bring the ratios nearer to 1.",
            f"Random adapters, all different, every other one of rank {bench.rank} and the others "
            f"of {-(-bench.rank // 2)}, on {result.num_linears} linear layers: "
            f"{human_bytes(result.adapter_bytes)} in all. Merging needs "
            f"{human_bytes(result.copy_bytes)} of pristine weights.",
            f"Dispatch table: {result.table}.",
        ),
    )


def headline(bench: AdaptersBench, result: AdaptersResult) -> str:
    """Return the measurement in one line: of the cell with the most adapters, the first samples."""
    cell = max(result.cells, key=lambda one: (one.num_adapters, -one.num_samples))
    one, length = cell.ways[USUAL], max(bench.num_tokens)
    whole = _makespan(length)
    own, mixed, best = _ratios(cell, one, Measurement.step_s)[0], *_ratios(cell, one, whole)[1:]
    against = f"{mixed} as fast as {MIXED}" if result.has_peft else f"without peft ({INSTALL})"
    return (
        f"{_title(cell)}: a decode step {own} of the base's; {length} tokens {against}, {best} as "
        "fast as the best way with one adapter at a time"
    )


def to_json(bench: AdaptersBench, result: AdaptersResult) -> dict[str, Any]:
    """Return all measurements and their circumstances as plain JSON values."""
    described = describe_scene(bench.scene)
    return {
        **{name: described[name] for name in ("model", "vision")},
        "question": bench.question,
        "num_tokens": list(bench.num_tokens),
        "max_batch": bench.max_batch,
        "rank": bench.rank,
        "num_rounds": bench.num_rounds,
        "num_prompt_tokens": result.num_prompt_tokens,
        "num_linears": result.num_linears,
        "adapter_bytes": result.adapter_bytes,
        "copy_bytes": result.copy_bytes,
        "clock": result.clock,
        "has_peft": result.has_peft,
        "table": result.table,
        "cells": [_plain(cell) for cell in result.cells],
    }


def _plain(cell: Cell) -> dict[str, Any]:
    """Return a cell as plain JSON values."""
    return {
        "num_adapters": cell.num_adapters,
        "num_samples": cell.num_samples,
        "reference": cell.reference,
        "ways": [
            {
                "way": one.way,
                "is_sequential": cell.is_sequential[one.way],
                "rows": one.rows,
                "num_batches": one.num_batches,
                "operations": one.operations,
                "log_prob": one.log_prob,
                "flips": one.flips,
                "switch_s": [taken.switch_s for taken in one.rounds],
                "prefill_s": one.prefill_s(),
                "steps_s": [taken.steps_s for taken in one.rounds],
            }
            for one in cell.ways.values()
        ],
    }
