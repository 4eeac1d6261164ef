"""The report of ``encodeonce bench store``, in the terminal and as JSON."""

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from encodeonce.harness.bench.cells import ABSENT
from encodeonce.harness.bench.machine import IDLE
from encodeonce.harness.bench.store import (
    FEW_FRAMES,
    FRAME_MIB,
    MEMCPY,
    BenchOptions,
    BenchResult,
    ContenderTimes,
)
from encodeonce.harness.bench.store_small import NUM_LOOKUPS, SmallResult
from encodeonce.harness.report.numbers import human_bytes, human_count
from encodeonce.harness.report.section import Section, Table

GB = 1e9
WORKS = ("write", "cold", "warm")
FEW_WORKS = ("cold few", "warm few")
TORCH, STOCK = "torch.save / load", "same file, hdf5plugin"


LEAST_FRAMES, LEAST_ROUNDS = 128, 5
"""Frames of an entry (144 MiB) and rounds of a measurement that the claims can be judged by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """A number that the project promises."""

    claim: str
    dtype: str
    value: float | None
    """Of the medians over the rounds; None when it could not be measured."""
    rounds: tuple[float, ...] = ()
    """The same of each round; empty where rounds do not differ."""
    limit: float
    at_least: bool

    @property
    def is_kept(self) -> bool | None:
        """Whether the measurement bears the promise out."""
        if self.value is None:
            return None
        return self.value >= self.limit if self.at_least else self.value <= self.limit


def promises(result: BenchResult) -> list[Promise]:
    """Return the store's promises, each with its measurement."""
    found = []
    most_bytes = {"bfloat16": 0.69, "float16": 0.87}
    for dtype in result.options.dtypes:
        raw, zstd = (result.row(f"encodeonce {codec}", dtype) for codec in ("raw", "zstd"))
        torch_, stock = result.row(TORCH, dtype), result.row(STOCK, dtype)
        memcpy = result.row(MEMCPY, dtype)
        faster = [
            ("raw, warm read / memcpy", memcpy, raw, "warm", 0.6),
            ("raw, warm read / torch.load", torch_, raw, "warm", 4.0),
            ("zstd, warm read / torch.load", torch_, zstd, "warm", 1.1),
            ("zstd, warm read / hdf5plugin on the same file", stock, zstd, "warm", 2.0),
            ("zstd, 8 frames / torch.load", torch_, zstd, "warm few", 15.0),
        ]
        for claim, slow, fast, work, limit in faster:
            found.append(
                Promise(
                    claim=claim,
                    dtype=dtype,
                    value=_times(slow, fast, work),
                    rounds=_times_by_round(slow, fast, work),
                    limit=limit,
                    at_least=True,
                )
            )
        size = None
        if zstd is not None and torch_ is not None:
            size = zstd.stored_bytes / torch_.stored_bytes
        found.append(
            Promise(
                claim="zstd, bytes / .pt",
                dtype=dtype,
                value=size,
                limit=most_bytes[dtype],
                at_least=False,
            )
        )
    return found


def not_judged(result: BenchResult) -> list[str]:
    """Return why this measurement says nothing about the promises; empty if it does."""
    options, reasons = result.options, []
    if options.num_frames < LEAST_FRAMES:
        least_mib = LEAST_FRAMES * FRAME_MIB
        reasons.append(
            f"entries have {options.num_frames * FRAME_MIB:g} MiB, not {least_mib:g} "
            f"(--entry-mib {least_mib:g})"
        )
    if options.num_rounds < LEAST_ROUNDS:
        reasons.append(
            f"{human_count(options.num_rounds, 'round')}, not {LEAST_ROUNDS} "
            f"(--rounds {LEAST_ROUNDS})"
        )
    if result.cores and statistics.median(result.cores) < IDLE * options.num_threads:
        reasons.append(
            f"something else used the machine: {options.num_threads} threads had "
            f"{statistics.median(result.cores):.1f} cores (--wait-s 60 waits for an idle machine)"
        )
    return reasons


def sections(result: BenchResult, small: Sequence[SmallResult]) -> list[Section]:
    """Return the tables of the measurement."""
    options = result.options
    parts = []
    for dtype in options.dtypes:
        rows = [row for row in result.rows if row.dtype == dtype]
        parts += [_entry_section(rows, options), _frames_section(rows)]
    parts.append(_small_section(small))
    parts.append(_promise_section(result))
    cores = statistics.median(result.cores)
    parts.append(
        Section(
            title="Circumstances",
            sentences=(
                f"Medians of {human_count(options.num_rounds, 'interleaved round')}, "
                f"{result.num_cpus} CPUs. Our store has {options.num_threads} threads; just before "
                f"the reads they had {cores:.1f} cores (median; at least {min(result.cores):.1f}).",
                "Writes are synced. 'cold': dropped from this machine's page cache; a hypervisor "
                "below may still hold the data.",
                *result.skipped,
            ),
        )
    )
    return parts


def to_json(result: BenchResult, small: Sequence[SmallResult]) -> dict[str, Any]:
    """Return all measurements."""
    options, reasons = {**asdict(result.options), "folder": None}, not_judged(result)
    return {
        "options": {**options, "dtypes": list(result.options.dtypes)},
        "num_cpus": result.num_cpus,
        "cores": result.cores,
        "skipped": result.skipped,
        "rows": [asdict(row) for row in result.rows],
        "small": [asdict(each) for each in small],
        "promises": [
            {**asdict(each), "is_kept": None if reasons else each.is_kept}
            for each in promises(result)
        ],
        "not_judged": reasons,
    }


def _times(slow: ContenderTimes | None, fast: ContenderTimes | None, work: str) -> float | None:
    """Return how many times faster ``fast`` is, by the medians."""
    if slow is None or fast is None:
        return None
    slow_s, fast_s = slow.median_s(work), fast.median_s(work)
    return None if slow_s is None or fast_s is None else slow_s / fast_s


def _times_by_round(
    slow: ContenderTimes | None, fast: ContenderTimes | None, work: str
) -> tuple[float, ...]:
    """Return how many times faster ``fast`` is in each round: both read the same entry there."""
    if slow is None or fast is None:
        return ()
    both = zip(slow.seconds.get(work, ()), fast.seconds.get(work, ()), strict=False)
    return tuple(slow_s / fast_s for slow_s, fast_s in both)


def _entry_section(rows: Sequence[ContenderTimes], options: BenchOptions) -> Section:
    """Return how fast whole entries are written and read."""
    cells = []
    for row in rows:
        works = WORKS[1:] if row.name == STOCK else WORKS  # it writes nothing itself
        rates = [row.rate(work) if work in works else None for work in WORKS]
        size = f"{row.stored_bytes / row.entry_bytes:.3f}" if row.stored_bytes else ABSENT
        cells.append((row.name, size, *(_figure(rate, 1 / GB, 2) for rate in rates)))
    return Section(
        title=f"{options.num_frames} frames an entry ({human_bytes(rows[0].entry_bytes)}), "
        f"{rows[0].dtype}",
        table=Table(columns=("", "bytes", *(f"{work}, GB/s" for work in WORKS)), rows=tuple(cells)),
    )


def _frames_section(rows: Sequence[ContenderTimes]) -> Section:
    """Return how fast some frames of an entry are read."""
    cells = [
        (row.name, *(_figure(row.median_s(work), 1e3, 1) for work in FEW_WORKS)) for row in rows
    ]
    return Section(
        title=f"{FEW_FRAMES} frames of an entry, {rows[0].dtype}",
        table=Table(columns=("", "cold, ms", "warm, ms"), rows=tuple(cells)),
    )


def _figure(value: float | None, factor: float, digits: int) -> str:
    return ABSENT if value is None else f"{value * factor:.{digits}f}"


def _small_section(small: Sequence[SmallResult]) -> Section:
    count = small[0].num_entries if small else 0
    columns = ("", "files", "bytes", "write, s", f"open + {NUM_LOOKUPS} keys, s", "read one, ms")
    rows = [
        (
            each.name,
            str(each.num_files),
            human_bytes(each.stored_bytes),
            f"{each.write_s:.2f}",
            f"{each.open_and_lookup_s:.3f}",
            f"{each.read_median_s * 1e3:.3f}",
        )
        for each in small
    ]
    return Section(title=f"{count} small entries", table=Table(columns=columns, rows=tuple(rows)))


def _promise_section(result: BenchResult) -> Section:
    reasons = not_judged(result)
    words = {True: "kept", False: "NOT kept", None: "not measured"}
    rows = [
        (
            each.claim,
            each.dtype,
            _figure(each.value, 1, 2),
            f"{min(each.rounds):.2f} to {max(each.rounds):.2f}" if each.rounds else ABSENT,
            f"{'≥' if each.at_least else '≤'} {each.limit:g}",
            *(() if reasons else (words[each.is_kept],)),
        )
        for each in promises(result)
    ]
    columns = ("claim", "dtype", "measured", "by round", "claimed")
    sentences = ["'measured' is of the medians over the rounds, 'by round' the least and the most."]
    if reasons:
        sentences.append(
            f"No verdict: the claims are about entries of {LEAST_FRAMES * FRAME_MIB:g} MiB, at "
            f"least {LEAST_ROUNDS} rounds, and an idle machine. Here: {'; '.join(reasons)}."
        )
    return Section(
        title="Claims",
        table=Table(columns=columns if reasons else (*columns, ""), rows=tuple(rows), num_words=2),
        sentences=tuple(sentences),
    )
