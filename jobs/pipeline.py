"""The main job: encode once, answer from the store, and check some answers without it."""

import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

from encodeonce.harness.results.timeline import now
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
from encodeonce.harness.run.record import SampleError
from encodeonce.harness.run.replaced import find_replaced
from encodeonce.harness.workers.evaluate import EvaluateWorker
from encodeonce.harness.workers.precompute import PrecomputeWorker
from encodeonce.harness.workers.recorder import lost_records
from encodeonce.harness.workers.reference import ReferenceWorker
from encodeonce.harness.workers.session import Session
from encodeonce.jobs.execution.executor import Executor, WorkerFactory
from encodeonce.jobs.execution.progress import Progress, Tally
from encodeonce.jobs.execution.work import Outcome, WorkItem
from encodeonce.models.kv.spec import FULL
from encodeonce.models.spec import NONE

logger = logging.getLogger(__name__)


class Pipeline:
    """The stages of one run. Each resumes where an interrupted process stopped."""

    def __init__(self, config: RunConfig, executor: Executor) -> None:
        """Load the benchmarks and make, or find, the run's output folder.

        Raises:
            ValueError: the configuration, a benchmark or the checkpoint cannot be used.
        """
        self.plan = make_plan(config)
        session = self._session = Session(config)  # opens nothing: there is nothing to close
        self.folder = RunFolder.create(
            config,
            checkpoint_sha256=session.checkpoint_sha256(),
            samples_sha256=self.plan.samples_sha256,
            variants=session.variants(config.weights, config.kv),
        )
        self._config = config
        self._executor = executor

    def precompute(self) -> None:
        """Put the features of all media into the store, without encoding any again.

        Every media item is looked up in the store itself, not in an earlier process's journal.
        """
        items = [
            WorkItem(id=media_item(planned.root, planned.ref), payload=planned)
            for planned in self.plan.media()
        ]
        make_worker = partial(PrecomputeWorker, self._config)
        progress = _progress("precompute", "media", items, _count_media, len(items))
        with self.folder.writer("precompute") as journal, progress:
            for outcome in self._executor.run(items, make_worker):
                journal.write({**asdict(outcome), "finished_at": now()})
                progress.update(outcome)

    def evaluate(self) -> None:
        """Give all missing answers under all variants, from stored features."""
        answered = self._answered(self.plan.groups, "records")
        branches = branches_left(self.plan.groups, self._config.weights, self._config.kv, answered)
        weights = {branch.weights.title: branch.weights for branch in branches}
        make_worker = partial(
            EvaluateWorker,
            self._config,
            self.folder.fingerprint,
            only=next(iter(weights.values())) if len(weights) == 1 else None,
        )
        self._answer("evaluate", branches, make_worker, "records")

    def check_uncached(self) -> None:
        """Answer samples with plain transformers, to compare with the answers from the store."""
        count = self._config.check_uncached
        groups = self.plan.groups if count == "all" else first_samples(self.plan.groups, count)
        branches = branches_left(groups, (NONE,), (FULL,), self._answered(groups, "uncached"))
        make_worker = partial(ReferenceWorker, self._config, self.folder.fingerprint)
        self._answer("uncached", branches, make_worker, "uncached")

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
        branches: Sequence[Branch],
        make_worker: WorkerFactory,
        which: Answers,
    ) -> None:
        """Give the missing answers, and append the records to the file ``which``."""
        if not branches:
            return
        unusable = self.folder.unusable_media()
        todo = {
            f"{branch.group.benchmark}/{number}": branch for number, branch in enumerate(branches)
        }
        items = [
            WorkItem(
                id=name,
                payload=branch,
                weight=len(branch.missing) * len(branch.group.media),
                affinity=branch.weights.title,
            )
            for name, branch in todo.items()
        ]

        def records(outcome: Outcome) -> list[dict[str, Any]]:
            branch = todo[outcome.item]
            return explained(self._records(branch, outcome), branch.group, unusable)

        def count(outcome: Outcome) -> Tally:
            return _count_records(records(outcome))

        num_answers = sum(len(branch.missing) for branch in branches)
        progress = _progress(stage, "answers", items, count, num_answers)
        with self.folder.writer(which) as file, progress:
            for outcome in self._executor.run(items, make_worker):
                for record in records(outcome):
                    file.write({**record, "finished_at": now()})
                progress.update(outcome)

    def _records(self, branch: Branch, outcome: Outcome) -> list[dict[str, Any]]:
        """Return the branch's records; if it was lost, they say why."""
        if outcome.status == "ok":
            records: list[dict[str, Any]] = outcome.value
            return records
        assert outcome.error is not None
        error = SampleError(type=outcome.error.type, message=outcome.error.message)
        media_sha256 = self._session.media_sha256(branch.group.root, branch.group.media)
        lost = lost_records(self.folder.fingerprint, branch, error, media_sha256)
        return [record.to_dict() for record in lost]


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


def _progress(
    stage: str,
    unit: str,
    items: Sequence[WorkItem],
    count: Callable[[Outcome], Tally],
    total: int,
) -> Progress:
    return Progress(items, count, title=stage, unit=unit, total=total, stream=sys.stderr)
