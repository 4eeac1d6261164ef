"""Measures a sweep of KV settings against a separate run for each of them.

The separate runs take our own fast path too: stored features, one prefill of a video for all its
questions, one worker in this process. So the ratio shows what sharing between settings saves.
"""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from encodeonce.harness.run.config import RunConfig
from encodeonce.harness.run.folder import RunFolder
from encodeonce.harness.run.record import Record
from encodeonce.jobs.execution.display import on_stderr
from encodeonce.jobs.execution.select import executor_for
from encodeonce.jobs.pipeline import Pipeline
from encodeonce.models.kv.spec import KVSpec

Cells = dict[tuple[str, str, str], tuple[int, ...]]
"""Token ids of an answer, by benchmark, sample and variant."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepBench:
    """What to measure."""

    config: RunConfig
    """The sweep, with all settings."""
    folder: Path
    """Folder for the runs' output."""
    num_runs: int


@dataclass(slots=True, kw_only=True)
class Side:
    """The sweep, or all separate runs together; one value per repetition."""

    whole_s: list[float] = field(default_factory=list)
    """Everything that the commands do, except starting Python."""
    answering_s: list[float] = field(default_factory=list)
    """The worker's seconds on media groups, model loading excluded."""
    stages_s: dict[str, float] = field(default_factory=dict)
    """Parts of ``answering_s`` by stage, summed over all repetitions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepResult:
    """All measurements."""

    sweep: Side
    separate: Side
    num_settings: int
    num_cells: int
    num_same: int
    """Number of cells with the same tokens on both sides in every repetition."""

    @property
    def whole_ratio(self) -> float:
        """Time of the separate runs over the sweep's, as whole commands."""
        return _ratio(self.separate.whole_s, self.sweep.whole_s)

    @property
    def answering_ratio(self) -> float:
        """Time of the separate runs over the sweep's, answering only."""
        return _ratio(self.separate.answering_s, self.sweep.answering_s)


def run_sweep_bench(bench: SweepBench, on_step: Callable[[str], None]) -> SweepResult:
    """Run the sweep and then each of its settings alone, repeatedly, after a warm-up.

    Raises:
        ValueError: a run cannot be made, or a sample has no answer.
    """
    settings = bench.config.kv
    on_step("encoding, and warming up")
    warm = bench.config.model_copy(update={"output": bench.folder / "warm"})
    _precompute(warm)
    _answered(warm.model_copy(update={"limit": 1}))
    sweep, separate = Side(), Side()
    same: dict[tuple[str, str, str], bool] = {}
    for number in range(bench.num_runs):
        on_step(f"repetition {number + 1}: the sweep")
        together = _once(bench, f"{number}-sweep", [settings], sweep)
        on_step(f"repetition {number + 1}: {len(settings)} separate runs")
        alone = _once(bench, f"{number}-alone", [(one,) for one in settings], separate)
        for cell, tokens in alone.items():
            same[cell] = same.get(cell, True) and together[cell] == tokens
    return SweepResult(
        sweep=sweep,
        separate=separate,
        num_settings=len(settings),
        num_cells=len(same),
        num_same=sum(same.values()),
    )


def _once(bench: SweepBench, name: str, runs: Sequence[tuple[KVSpec, ...]], side: Side) -> Cells:
    """Run settings, one run after another, and add the seconds to a side."""
    cells: Cells = {}
    whole_s = answering_s = 0.0
    for number, settings in enumerate(runs):
        output = bench.folder / f"{name}-{number}"
        config = bench.config.model_copy(update={"output": output, "kv": settings})
        start = time.perf_counter()
        records = _answered(config)
        whole_s += time.perf_counter() - start
        for record in records:
            cells[record.key] = record.token_ids
            answering_s += sum(record.seconds.values())
            _add(side.stages_s, record.seconds)
    side.whole_s.append(whole_s)
    side.answering_s.append(answering_s)
    return cells


def _precompute(config: RunConfig) -> None:
    with on_stderr() as display, executor_for(config.workers, None) as executor:
        pipeline = Pipeline(config, executor, display)
        with pipeline.folder:
            pipeline.precompute()


def _answered(config: RunConfig) -> list[Record]:
    """Evaluate, and return the records."""
    with on_stderr() as display, executor_for(config.workers, None) as executor:
        pipeline = Pipeline(config, executor, display)
        with pipeline.folder:
            pipeline.evaluate()
    records = RunFolder(config.output).records("records")
    if failed := [record for record in records if record.error is not None]:
        first = failed[0]
        raise ValueError(
            f"{len(failed)} of {len(records)} samples have no answer, the first "
            f"{first.benchmark}/{first.sample}: {first.error}"
        )
    return records


def _add(total: dict[str, float], seconds: Mapping[str, float]) -> None:
    for stage, value in seconds.items():
        total[stage] = total.get(stage, 0.0) + value


def _ratio(separate_s: Sequence[float], sweep_s: Sequence[float]) -> float:
    """Return the median of the ratios: both sides of a ratio met the same load on the machine."""
    pairs = zip(separate_s, sweep_s, strict=True)
    return statistics.median(alone / together for alone, together in pairs)
