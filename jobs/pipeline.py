"""The main job: encode once, answer from the store, and check some answers without it."""

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

from encodeonce.harness.results.timeline import now
from encodeonce.harness.results.work import StageWork
from encodeonce.harness.run.blocks import Block, apart, blocks_of, one_by_one, seats
from encodeonce.harness.run.config import RunConfig
from encodeonce.harness.run.folder import Answers, RunFolder
from encodeonce.harness.run.plan import (
    Branch,
    MediaGroup,
    branches_left,
    first_samples,
    make_plan,
)
from encodeonce.harness.run.reasons import explained, media_item
from encodeonce.harness.run.record import CacheUse, Record, SampleError
from encodeonce.harness.run.replaced import find_replaced
from encodeonce.harness.workers.evaluate import EvaluateWorker
from encodeonce.harness.workers.precompute import PrecomputeWorker
from encodeonce.harness.workers.recorder import lost_records
from encodeonce.harness.workers.reference import ReferenceWorker
from encodeonce.harness.workers.session import Session
from encodeonce.jobs.execution.display import Display, Nothing
from encodeonce.jobs.execution.executor import Executor, WorkerFactory
from encodeonce.jobs.execution.failures import FailureLimit
from encodeonce.jobs.execution.progress import Progress, Tally
from encodeonce.jobs.execution.work import Outcome, WorkItem
from encodeonce.models.kv.spec import FULL
from encodeonce.models.spec import NONE

logger = logging.getLogger(__name__)


class Pipeline:
    """The stages of one run. Each resumes where an interrupted process stopped."""

    def __init__(
        self, config: RunConfig, executor: Executor, display: Display | None = None
    ) -> None:
        """Load the benchmarks and make, or find, the run's output folder.

        Args:
            config: the run.
            executor: does the work.
            display: where progress is shown; nowhere by default.

        Raises:
            ValueError: the configuration, a benchmark or the checkpoint cannot be used.
        """
        self.plan = make_plan(config)
        # Opens nothing, so there is nothing to close.
        session = self._session = Session(config, engine=config.engine)
        self.folder = RunFolder.create(
            config,
            checkpoint_sha256=session.checkpoint_sha256(),
            samples_sha256=self.plan.samples_sha256,
            variants=session.variants(
                config.weights,
                config.kv,
                config.adapters,
                needing_heads={
                    adapter.title
                    for adapter in config.adapters
                    for spec in config.benchmarks
                    if adapter is not None
                    and spec.scoring == "head"
                    and adapter.answers(spec.title)
                },
            ),
        )
        self.work: dict[str, StageWork] = {}
        """What has been done so far, by stage; grows with every line of the folder."""
        self._config = config
        self._executor = executor
        self._metrics = executor.metrics
        self._display = display or Nothing()

    def precompute(self) -> None:
        """Put the features of all media into the store, without encoding any again.

        Every media item is looked up in the store itself, not in an earlier process's journal.
        """
        items = [
            WorkItem(id=media_item(planned.root, planned.ref), payload=planned)
            for planned in self.plan.media()
        ]
        make_worker = partial(PrecomputeWorker, self._config)
        work = StageWork(unit="media", num_total=len(items), num_kept=0, is_at_least=True)
        self.work["precompute"] = work
        failures = self._failure_limit(work)
        progress = self._progress("precompute", "media", items, _count_media, len(items))
        with self.folder.writer("precompute") as journal, progress:
            for outcome in self._executor.run(items, make_worker, progress.workers):
                journal.write({**asdict(outcome), "finished_at": now()})
                if outcome.status == "ok":
                    cache = CacheUse(**outcome.value["cache"])
                    work.add(num_new=cache.num_encoded > 0, num_kept=1, cache=cache)
                    self._metrics.count("precompute", cache=cache, seconds=outcome.value["seconds"])
                progress.update(outcome)
                if outcome.error is not None:
                    kind = outcome.error.type
                    self._metrics.count("precompute", cache=CacheUse(), seconds={}, error=kind)
                    failures.add(1, f"{outcome.error.type}: {outcome.error.message}")

    def evaluate(self) -> None:
        """Give all missing answers under all variants, from stored features."""
        answered = self._answered(self.plan.groups, "records")
        branches = self._left(answered)
        weights = {branch.weights.title: branch.weights for branch in branches}
        make_worker = partial(
            EvaluateWorker,
            self._config,
            self.folder.fingerprint,
            only=next(iter(weights.values())) if len(weights) == 1 else None,
        )
        every = self._left(())
        self._begin("evaluate", "answers", every, branches)
        max_batch = self._config.generation.max_batch
        where = seats(self.plan.every_group, max_batch)
        blocks = blocks_of(branches, where, self._config.adapters, max_batch)
        lost = self._answer("evaluate", blocks, make_worker, "records")
        # What killed the workers of a block may be one of its groups alone.
        again = [one for block in lost for one in apart(block)]
        self._answer("evaluate", again, make_worker, "records")

    def _failure_limit(self, work: StageWork) -> FailureLimit:
        most = self._config.workers.most_failed(work.num_total)
        return FailureLimit(most, num_total=work.num_total, unit=work.unit)

    def _left(self, answered: Collection[tuple[str, str, str]]) -> tuple[Branch, ...]:
        """Return what is left to answer, given what is answered."""
        config = self._config
        return branches_left(self.plan.groups, config.weights, config.kv, answered, config.adapters)

    def check_uncached(self) -> None:
        """Answer samples with plain transformers, to compare with the answers from the store."""
        count = self._config.check_uncached
        groups = self.plan.groups if count == "all" else first_samples(self.plan.groups, count)
        branches = branches_left(groups, (NONE,), (FULL,), self._answered(groups, "uncached"))
        make_worker = partial(ReferenceWorker, self._config, self.folder.fingerprint)
        every = branches_left(groups, (NONE,), (FULL,), ())
        self._begin("uncached", "uncached answers", every, branches)
        self._answer("uncached", one_by_one(branches), make_worker, "uncached")

    def _begin(
        self, stage: str, unit: str, every: Sequence[Branch], left: Sequence[Branch]
    ) -> None:
        """Take note of how much a stage has to do, and how much was there before."""
        num_total = _num_answers(every)
        num_kept = num_total - _num_answers(left)
        self.work[stage] = StageWork(unit=unit, num_total=num_total, num_kept=num_kept)

    def _answered(self, groups: Sequence[MediaGroup], which: Answers) -> set[tuple[str, str, str]]:
        """Return the answers that stand: those about files as they are now."""
        records = self.folder.records(which)
        outcomes = self.folder.precompute_outcomes()
        replaced = find_replaced(groups, records, outcomes, self._session.media.sha256)
        if replaced.files:
            logger.warning(
                "replaced since they were asked about: %s. Answers about their earlier content "
                "(%d in %s) no longer count, and are given anew",
                *(_first(replaced.files), len(replaced.answers), f"{which}.jsonl"),
            )
        return {record.key for record in records if record.error is None} - replaced.answers

    def _answer(
        self,
        stage: str,
        blocks: Sequence[Block],
        make_worker: WorkerFactory,
        which: Answers,
    ) -> list[Block]:
        """Give the missing answers, and append the records to the file ``which``.

        Returns:
            Blocks of several groups whose workers were lost. Nothing was recorded for them.
        """
        if not blocks:
            return []
        unusable = self.folder.unusable_media()
        todo = {f"{block.benchmark}/{number}": block for number, block in enumerate(blocks)}
        items = [
            WorkItem(id=name, payload=block, weight=block.weight, affinity=block.weights.title)
            for name, block in todo.items()
        ]

        def records(outcome: Outcome) -> list[dict[str, Any]]:
            block = todo[outcome.item]
            found = self._records(block, outcome)
            groups = {
                sample.id: member.branch.group
                for member in block.members
                for sample in member.branch.group.samples
            }
            return [explained(record, groups[record["sample"]], unusable) for record in found]

        def count(outcome: Outcome) -> Tally:
            return _count_records(records(outcome))

        num_answers = sum(block.num_missing for block in blocks)
        work = self.work[stage]
        failures = self._failure_limit(work)
        progress = self._progress(stage, "answers", items, count, num_answers)
        lost = []
        with self.folder.writer(which) as file, progress:
            for outcome in self._executor.run(items, make_worker, progress.workers):
                if outcome.status != "ok" and len(todo[outcome.item].members) > 1:
                    lost.append(todo[outcome.item])
                    continue
                errors = []
                for record in records(outcome):
                    file.write({**record, "worker": outcome.worker, "finished_at": now()})
                    is_answer = record["error"] is None
                    cache = CacheUse(**record["cache"])
                    work.add(num_new=1, num_kept=is_answer, cache=cache)
                    error = None if is_answer else record["error"]["type"]
                    self._metrics.count(stage, cache=cache, seconds=record["seconds"], error=error)
                    errors += [] if is_answer else [record["error"]]
                progress.update(outcome)
                if errors:
                    failures.add(len(errors), f"{errors[-1]['type']}: {errors[-1]['message']}")
        return lost

    def _progress(
        self,
        stage: str,
        unit: str,
        items: Sequence[WorkItem],
        count: Callable[[Outcome], Tally],
        total: int,
    ) -> Progress:
        return Progress(items, count, title=stage, unit=unit, total=total, display=self._display)

    def _records(self, block: Block, outcome: Outcome) -> list[dict[str, Any]]:
        """Return the block's records; if it was lost, they say why."""
        if outcome.status == "ok":
            records: list[dict[str, Any]] = outcome.value
            return records
        assert outcome.error is not None
        error = SampleError(type=outcome.error.type, message=outcome.error.message)
        return [
            record.to_dict()
            for member in block.members
            for record in self._lost(member.branch, error)
        ]

    def _lost(self, branch: Branch, error: SampleError) -> list[Record]:
        media_sha256 = self._session.media_sha256(branch.group.root, branch.group.media)
        return lost_records(self.folder.fingerprint, branch, error, media_sha256)


def _num_answers(branches: Sequence[Branch]) -> int:
    return sum(len(branch.missing) for branch in branches)


def _first(names: Sequence[str], most: int = 5) -> str:
    """Return the first few names, and how many more there are."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def _count_media(outcome: Outcome) -> Tally:
    if outcome.status != "ok":
        return Tally(done=1, errors=1)
    cache = outcome.value["cache"]
    return Tally(done=1, hits=cache["num_hits"], misses=cache["num_units"] - cache["num_hits"])


def _count_records(records: Sequence[Mapping[str, Any]]) -> Tally:
    hits = sum(record["cache"]["num_hits"] for record in records)
    return Tally(
        done=len(records),
        errors=sum(record["error"] is not None for record in records),
        hits=hits,
        misses=sum(record["cache"]["num_units"] for record in records) - hits,
    )
