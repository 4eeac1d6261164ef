"""Judging a run's answers, as commands do it: what it costs is said first, then how far it is."""

import time
from pathlib import Path

from encodeonce.datasets.refusals import checked
from encodeonce.harness.judging.client import JudgeUnusable, check_judge_client
from encodeonce.harness.judging.judge import JudgePlan, judge_run, plan_judging
from encodeonce.harness.run.after.judge_spec import JudgeSpec, check_judge
from encodeonce.harness.run.after.verdict import VerdictRecord
from encodeonce.harness.run.folder import RunFolder
from encodeonce.jobs.execution.display import Display, Snapshot
from encodeonce.jobs.interrupts import interruptible


def plan_words(spec: JudgeSpec, plan: JudgePlan) -> str:
    """Return in a sentence what is left to judge, and what it may cost."""
    left = plan.estimate
    words = (
        f"judge {spec.model}: {plan.num_answers} answers, {plan.num_kept} of them judged already, "
        f"{len(plan.replayed)} the same as one that is judged; {left.num_requests} requests"
    )
    if not left.num_requests:
        return words
    words += (
        f" of about {left.input_tokens} tokens, with replies of at most {left.output_tokens} "
        "tokens in all"
    )
    price = "no price is given" if left.price is None else f"at most about {left.price:.2f}"
    return f"{words}: {price}"


def judge_folder(folder: RunFolder, spec: JudgeSpec, display: Display) -> None:
    """Judge what is left of a run's answers; the folder is locked meanwhile.

    Raises:
        ValueError: it cannot be judged, or not to the end; verdicts so far are kept.
    """
    check_judge_client()
    with folder:
        plan = plan_judging(folder.path, spec)
        display.phase(plan_words(spec, plan))
        progress = _Progress(plan, display)
        with interruptible(progress.kept):
            try:
                judge_run(folder.path, spec, plan, progress.add)
            except JudgeUnusable as error:
                raise JudgeUnusable(f"{error}; {progress.kept()}") from error
            finally:
                progress.end()


class _Progress:
    """Counts verdicts and shows them."""

    def __init__(self, plan: JudgePlan, display: Display) -> None:
        self._total = plan.num_answers - plan.num_kept
        self._display = display
        self._done = self._errors = 0
        self._start_s = time.monotonic()

    def add(self, verdict: VerdictRecord) -> None:
        self._done += 1
        self._errors += verdict.error is not None
        if self._done < self._total:
            self._display.show(self._snapshot())

    def kept(self) -> str:
        return f"{self._done - self._errors} new verdicts are kept"

    def end(self) -> None:
        if self._total:
            self._display.show(self._snapshot(), is_last=True)

    def _snapshot(self) -> Snapshot:
        seconds = time.monotonic() - self._start_s
        per_s = self._done / seconds if self._done and seconds else None
        return Snapshot(
            stage="judge",
            unit="verdicts",
            done=self._done,
            total=self._total,
            ready=1,
            wanted=1,
            hit_rate=None,
            errors=self._errors,
            quarantined=0,
            per_s=per_s,
            remaining_s=(self._total - self._done) / per_s if per_s else None,
            seconds=seconds,
        )


def require_judgeable(folder: Path) -> None:
    """Refuse a run whose benchmarks have nothing for a judge.

    Raises:
        ValueError: it has none, or this is not a run's folder.
    """
    config = RunFolder(folder).description()["config"]
    check_judge(spec["name"] for spec in config["benchmarks"])


def judge_of(folder: Path) -> JudgeSpec | None:
    """Return the judge that a run's own file names, if it names one.

    Raises:
        RunFolderError: this is not a run's folder.
    """
    found = RunFolder(folder).description()["config"].get("judge")
    return None if found is None else checked(JudgeSpec, found)
