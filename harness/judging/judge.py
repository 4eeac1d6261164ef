"""Judges a run's answers: what is judged already is replayed, the rest is asked about.

Every verdict is a line that is appended as soon as it is there: whatever ends a command loses only
the replies that are still on their way.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from encodeonce.datasets.registry import load_benchmark
from encodeonce.datasets.rubric import Judgeable, VerdictError
from encodeonce.harness.judging.client import FIRST_PAUSE_S, JudgeClient, JudgeError, JudgeUnusable
from encodeonce.harness.judging.requests import (
    Estimate,
    JudgeRequest,
    estimate,
    request_about,
)
from encodeonce.harness.results.export import read_run
from encodeonce.harness.results.timeline import now
from encodeonce.harness.run.after.judge_spec import JudgeSpec
from encodeonce.harness.run.after.verdict import (
    FILE,
    VerdictRecord,
    read_verdicts,
    standing,
    text_sha256,
)
from encodeonce.harness.run.jsonl import JsonLinesWriter
from encodeonce.harness.run.record import SampleError

MOST_IN_A_ROW = 10
"""So many failures without a verdict between them end judging: the server is gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgePlan:
    """What is left to judge in a run."""

    num_answers: int
    """Answers in words, of benchmarks that are judged."""
    num_kept: int
    """Of these, judged already by this judge."""
    replayed: tuple[VerdictRecord, ...]
    """Verdicts that other answers' requests, of the same content, have brought already."""
    requests: Mapping[str, tuple[JudgeRequest, ...]]
    """What has to be asked, by its digest; several answers may be the same question to a judge."""
    estimate: Estimate


def plan_judging(folder: Path, spec: JudgeSpec) -> JudgePlan:
    """Return what there is to judge.

    Raises:
        ValueError: this is not a run's folder, its questions have changed, or what only the judge
            needs of a benchmark is missing.
    """
    requests = _requests(folder, spec)
    verdicts = read_verdicts(folder)
    kept = standing(verdicts, [one.record for one in requests])
    paid = {one.request_sha256: one for one in verdicts if one.error is None}
    replayed, asked = [], dict[str, list[JudgeRequest]]()
    num_kept = 0
    for one in requests:
        found = kept.get((one.judge.sha256, one.record.key))
        if found is not None and found.error is None:
            num_kept += 1
        elif one.sha256 in paid:
            replayed.append(_replay(paid[one.sha256], one))
        else:
            asked.setdefault(one.sha256, []).append(one)
    return JudgePlan(
        num_answers=len(requests),
        num_kept=num_kept,
        replayed=tuple(replayed),
        requests={digest: tuple(some) for digest, some in asked.items()},
        estimate=estimate(spec, [some[0] for some in asked.values()]),
    )


def judge_run(
    folder: Path,
    spec: JudgeSpec,
    plan: JudgePlan,
    show: Callable[[VerdictRecord], None] = lambda _: None,
    first_pause_s: float = FIRST_PAUSE_S,
) -> None:
    """Ask about all that is left, and append the verdicts. The folder is locked by the caller.

    Args:
        folder: of the run.
        spec: the judge.
        plan: what is left, of `plan_judging`.
        show: is called with every line that is written.
        first_pause_s: see `JudgeClient`.

    Raises:
        JudgeUnusable: it may cost more than `max_price`, or the judge cannot be asked (any more).
            Verdicts so far are kept.
        OutputError: verdicts cannot be written.
    """
    price, most = plan.estimate.price, spec.max_price
    if most is not None and price is not None and price > most:
        raise JudgeUnusable(
            f"judge: {plan.estimate.num_requests} requests may cost {price:.2f}, which is more "
            f"than max_price: {most:g}; nothing was asked"
        )
    with JsonLinesWriter(folder / FILE) as file:

        def keep(verdict: VerdictRecord) -> None:
            file.write(asdict(verdict))
            show(verdict)

        for verdict in plan.replayed:
            keep(verdict)
        if plan.requests:
            asyncio.run(_ask_all(spec, list(plan.requests.values()), keep, first_pause_s))


async def _ask_all(
    spec: JudgeSpec,
    requests: Sequence[tuple[JudgeRequest, ...]],
    keep: Callable[[VerdictRecord], None],
    first_pause_s: float,
) -> None:
    """Ask with so many requests at a time; the first error that concerns all ends it."""
    left = iter(requests)
    failures = 0
    async with JudgeClient(spec, first_pause_s) as client:

        async def work() -> None:
            nonlocal failures
            for some in left:
                first = await _verdict(client, some[0])
                keep(first)
                for other in some[1:]:
                    keep(_replay(first, other))
                failures = 0 if first.error is None else failures + 1
                if failures >= MOST_IN_A_ROW and first.error is not None:
                    raise JudgeUnusable(
                        f"judge {spec.model} at {spec.url} failed {failures} times in a row, the "
                        f"last time with: {first.error.message}"
                    )

        tasks = [asyncio.create_task(work()) for _ in range(min(spec.concurrency, len(requests)))]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def _verdict(client: JudgeClient, request: JudgeRequest) -> VerdictRecord:
    try:
        reply = await client.ask(request.body)
    except JudgeError as error:
        return _blank(request, error=SampleError.of(error))
    found = _blank(
        request,
        error=None,
        reply=reply.text,
        input_tokens=reply.input_tokens,
        output_tokens=reply.output_tokens,
    )
    try:
        verdict = request.rubric.read(reply.text)
    except VerdictError as error:
        return replace(found, error=SampleError.of(error))
    return replace(found, value=verdict.value, reference=verdict.reference)


def _blank(
    request: JudgeRequest,
    *,
    error: SampleError | None,
    reply: str | None = None,
    input_tokens: int = 0,
    output_tokens: int = 0,
) -> VerdictRecord:
    """Return a record about a request's answer, without a verdict."""
    record = request.record
    return VerdictRecord(
        benchmark=record.benchmark,
        sample=record.sample,
        variant=record.variant,
        request_sha256=request.sha256,
        answer_sha256=text_sha256(record.text or ""),
        judge=request.judge,
        reply=reply,
        error=error,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        finished_at=now(),
    )


def _replay(verdict: VerdictRecord, request: JudgeRequest) -> VerdictRecord:
    """Return a verdict, or an error, as one about another answer of the same content."""
    return replace(
        _blank(request, error=verdict.error, reply=verdict.reply),
        value=verdict.value,
        reference=verdict.reference,
        is_replayed=True,
    )


def _requests(folder: Path, spec: JudgeSpec) -> list[JudgeRequest]:
    """Return a request about every answer in words, judged or not."""
    found = []
    for variant in read_run(folder):
        for part in variant.benchmarks:
            benchmark = load_benchmark(part.spec.name, part.spec.options)
            if not isinstance(benchmark, Judgeable):
                continue
            for one in part.answered:
                if one.record.error is None and one.record.text is not None:
                    texts = benchmark.judged_texts(one.sample, one.record.text)
                    message = benchmark.rubric.ask(texts)
                    found.append(request_about(spec, benchmark.rubric, message, one.record))
    return found
