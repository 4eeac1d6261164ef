"""Measures what grows with a run: the store's index, the plan, the report; each at several sizes.

Every size is measured in a process of its own, so that its peak memory is its own; that of a
process which has only imported the program is given beside it.
"""

import json
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path

from encodeonce.harness.bench.scale.inputs import (
    UNITS_A_MEDIA,
    keys_of,
    write_questions,
    write_records,
    write_store,
)

LOOK_UPS = 100_000
"""At most so many units are looked up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """One part at one size."""

    part: str
    size: int
    seconds: Mapping[str, float]
    """By step."""
    processor_seconds: Mapping[str, float]
    """Of this process's own work, which other jobs on the machine hardly lengthen."""
    peak_bytes: int
    """Of the process, the program's own modules included."""
    import_bytes: int
    """Of the same process before it began."""
    figures: Mapping[str, float] = field(default_factory=dict)


def measure(part: str, sizes: Sequence[int], on_step: Callable[[str], None]) -> list[Scale]:
    """Measure a part at several sizes, one after the other.

    Args:
        part: a key of `PARTS`.
        sizes: how many keys, samples or records.
        on_step: told what is measured next.
    """
    found = []
    for size in sizes:
        on_step(f"{part}, {size}")
        spawn = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=spawn) as pool:
            found.append(pool.submit(_measured, part, size).result())
    return found


def _measured(part: str, size: int) -> Scale:
    with tempfile.TemporaryDirectory(prefix="encodeonce-scale-") as folder:
        prepare, steps = PARTS[part]
        spawn = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=spawn) as pool:  # its memory is not measured
            pool.submit(prepare, Path(folder), size).result()
        import_bytes = _peak_bytes()
        clock = _Clock()
        figures = steps(Path(folder), size, clock)
        return Scale(
            part=part,
            size=size,
            seconds=clock.seconds,
            processor_seconds=clock.processor_seconds,
            peak_bytes=_peak_bytes(),
            import_bytes=import_bytes,
            figures=figures,
        )


def _peak_bytes() -> int:
    """Return the most memory that this process had."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    # Linux's getrusage counts the process from which this one was started, too.
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


class _Clock:
    """Takes the seconds of steps, one after the other."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.processor_seconds: dict[str, float] = {}
        self.start()

    def start(self) -> None:
        """Begin a step."""
        self._last_s, self._last_busy_s = time.perf_counter(), time.process_time()

    def lap(self, step: str) -> None:
        """End a step, and begin the next."""
        self.seconds[step] = time.perf_counter() - self._last_s
        self.processor_seconds[step] = time.process_time() - self._last_busy_s
        self.start()


Figures = dict[str, float]


def _index(folder: Path, size: int, clock: _Clock) -> Figures:
    from encodeonce.cache_store.hdf5 import Hdf5Store
    from encodeonce.cache_store.home import Home
    from encodeonce.cache_store.maintenance.stat import stat

    keys = keys_of(min(size, LOOK_UPS))
    clock.start()
    store = Hdf5Store(folder)
    assert keys[0] in store
    clock.lap("open")
    for start in range(0, len(keys), UNITS_A_MEDIA):
        assert all(store.contains_all(keys[start : start + UNITS_A_MEDIA]))
    clock.lap("look up")
    (found,) = stat(Home(folder))
    clock.lap("stat")
    assert found.num_units == size
    return {"look-ups/s": len(keys) / clock.processor_seconds["look up"]}


def _plan(folder: Path, size: int, clock: _Clock) -> Figures:
    from encodeonce.harness.run.blocks import blocks_of, seats
    from encodeonce.harness.run.plan import branches_left, make_plan
    from encodeonce.harness.run.read_config import load_config

    config = load_config(folder / "run.yaml")
    clock.start()
    plan = make_plan(config)
    clock.lap("plan")
    assert plan.num_samples == size
    branches = branches_left(plan.groups, config.weights, config.kv, (), config.adapters)
    max_batch = config.generation.max_batch
    where = seats(plan.every_group, max_batch)
    blocks = blocks_of(branches, where, config.adapters, max_batch)
    clock.lap("blocks")
    return {"blocks": float(len(blocks))}


def _report(folder: Path, size: int, clock: _Clock) -> Figures:
    from encodeonce.harness.report.write import write_report
    from encodeonce.harness.run.folder import RunFolder

    clock.start()
    written = write_report(RunFolder(folder))
    clock.lap("report")
    assert written.summary["evaluation"]["num_samples"] == size
    page_bytes = sum(page.stat().st_size for page in written.pages)
    return {"page MB": page_bytes / 1e6}


Prepare = Callable[[Path, int], None]
PARTS: Mapping[str, tuple[Prepare, Callable[[Path, int, _Clock], Figures]]] = {
    "index": (write_store, _index),
    "plan": (write_questions, _plan),
    "report": (write_records, _report),
}


def to_json(found: Sequence[Scale]) -> dict[str, object]:
    """Return all measurements as plain JSON values."""
    measured: dict[str, object] = json.loads(json.dumps([asdict(one) for one in found]))
    return {"scale": measured}
