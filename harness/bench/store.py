"""Measures our feature store and others on the same data, in one run.

Rounds are interleaved: in each, every contender does the same work in a random order, so that a
busy machine affects all alike. Results are medians over the rounds.
"""

import os
import random
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from encodeonce.harness.bench.machine import wait_until_idle
from encodeonce.harness.bench.rivals.contender import Array, Contender, forget
from encodeonce.harness.bench.store_rivals import make_contenders

PATCHES, WIDTH = 576, 1024
"""Of CLIP ViT-L/14-336: a frame of 1.125 MiB in 16 bits."""
FRAME_MIB = PATCHES * WIDTH * 2 / 2**20
FEW_FRAMES = 8
MEMCPY = "memcpy"
DTYPES = {"bfloat16": np.dtype(ml_dtypes.bfloat16), "float16": np.dtype(np.float16)}


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchOptions:
    """How much to measure."""

    entry_mib: float = 18.0
    """Size of an entry; 144 is a clip of 128 frames."""
    num_rounds: int = 5
    num_threads: int = 2
    """Threads of our store; the others use their own defaults."""
    dtypes: tuple[str, ...] = ("bfloat16", "float16")
    wait_s: float = 0.0
    """Longest wait for an idle machine before each contender's reads."""
    folder: Path | None = None
    """Where to write; a temporary folder by default."""
    seed: int = 0

    @property
    def num_frames(self) -> int:
        """Frames per entry."""
        return max(FEW_FRAMES, round(self.entry_mib / FRAME_MIB))


@dataclass(slots=True, kw_only=True)
class ContenderTimes:
    """Seconds that one contender took, by kind of work and round; each round is one entry."""

    name: str
    dtype: str
    entry_bytes: int
    stored_bytes: int = 0
    """Per entry."""
    seconds: dict[str, list[float]] = field(default_factory=dict)
    """By work (``write``, ``cold``, ``warm``, ``cold few``, ``warm few``), one per round."""

    def median_s(self, work: str) -> float | None:
        """Return the median of a kind of work; None if it was not measured."""
        taken = self.seconds.get(work)
        return statistics.median(taken) if taken else None

    def rate(self, work: str) -> float | None:
        """Return the median rate in bytes of the entry per second."""
        taken = self.median_s(work)
        return None if taken is None else self.entry_bytes / taken


@dataclass(slots=True, kw_only=True)
class BenchResult:
    """The times of all contenders, and the circumstances of the measurement."""

    options: BenchOptions
    rows: list[ContenderTimes] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    cores: list[float] = field(default_factory=list)
    """Cores that our threads got just before each contender's reads; others used the rest."""
    num_cpus: int = field(default_factory=lambda: os.cpu_count() or 1)

    def row(self, name: str, dtype: str) -> ContenderTimes | None:
        """Return a contender's times; None if it did not run."""
        return next((row for row in self.rows if (row.name, row.dtype) == (name, dtype)), None)


def run_bench(
    options: BenchOptions, on_round: Callable[[int, int], None] = lambda done, total: None
) -> BenchResult:
    """Measure. ``on_round`` is called with the number of rounds done and of all rounds."""
    result = BenchResult(options=options)
    rng = random.Random(options.seed)
    total = 2 * len(options.dtypes) * options.num_rounds
    for position, dtype in enumerate(options.dtypes):
        with _scratch(options.folder) as folder:
            contenders, result.skipped = make_contenders(folder, options.num_threads)
            frames = make_features(options.num_frames, DTYPES[dtype], options.seed)
            rows = {
                name: ContenderTimes(name=name, dtype=dtype, entry_bytes=frames.nbytes)
                for name in [*(contender.name for contender in contenders), MEMCPY]
            }
            result.rows += rows.values()
            done = 2 * position * options.num_rounds
            for round_ in range(options.num_rounds):
                _write_round(contenders, rows, frames, round_)
                on_round(done + round_ + 1, total)
            for contender in contenders:
                num_bytes = sum(path.stat().st_size for path in contender.files())
                rows[contender.name].stored_bytes = num_bytes // options.num_rounds
            for round_ in range(options.num_rounds):
                result.cores += _read_round(contenders, rows, frames, round_, rng, options)
                on_round(done + options.num_rounds + round_ + 1, total)
    return result


def make_features(num_frames: int, dtype: np.dtype[Any], seed: int) -> Array:
    """Return (T, P, D) numbers that compress like a vision tower's: channels of unequal scale.

    The entropy of the exponents, 2.8 bit, is that of the real feature sets we measured.
    """
    rng = np.random.default_rng(seed)
    scale_D = np.exp(rng.normal(0, 0.4, WIDTH)).astype(np.float32)
    frames = np.empty((num_frames, PATCHES, WIDTH), dtype)
    for frame in frames:
        frame[:] = rng.standard_normal((PATCHES, WIDTH), dtype=np.float32) * scale_D
    return frames


def _write_round(
    contenders: list[Contender], rows: dict[str, ContenderTimes], frames: Array, round_: int
) -> None:
    # In a fixed order: one contender reads what another has written.
    entry = np.roll(frames, round_, axis=0)
    for contender in contenders:
        _time(rows[contender.name], "write", partial(contender.write, round_, entry))


def _read_round(
    contenders: list[Contender],
    rows: dict[str, ContenderTimes],
    frames: Array,
    round_: int,
    rng: random.Random,
    options: BenchOptions,
) -> list[float]:
    """Time all reads of one entry; return the cores that were free before each of them."""
    out, few = np.empty_like(frames), np.empty_like(frames[:FEW_FRAMES])
    out[:], few[:] = 0, 0  # its pages are there before anything is timed
    step = len(frames) // FEW_FRAMES
    some = list(range(0, step * FEW_FRAMES, step))
    expected = np.roll(frames, round_, axis=0)
    cores = []
    for contender in rng.sample(contenders, len(contenders)):
        row = rows[contender.name]
        cores.append(wait_until_idle(options.num_threads, options.wait_s))
        for work, run in {
            "few": partial(contender.read_frames, round_, some, few),
            "": partial(contender.read, round_, out),
        }.items():
            for path in contender.files():
                forget(path)
            _time(row, f"cold {work}".strip(), run)
            run()
            _time(row, f"warm {work}".strip(), run)
        if few.tobytes() != expected[some].tobytes():
            raise RuntimeError(f"{contender.name} did not read the bytes that it wrote")
    for work, target, source in (("warm", out, expected), ("warm few", few, expected[some])):
        np.copyto(target, source)  # as warm as the others
        _time(rows[MEMCPY], work, partial(np.copyto, target, source))
    return cores


def _time(row: ContenderTimes, work: str, run: Callable[[], None]) -> None:
    started_s = time.perf_counter()
    run()
    row.seconds.setdefault(work, []).append(time.perf_counter() - started_s)


@contextmanager
def _scratch(folder: Path | None) -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="bench-store-", dir=folder))
    try:
        yield made
    finally:
        shutil.rmtree(made)
