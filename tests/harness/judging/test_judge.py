"""Judging a run's answers against a local server: replay, failures, prices, partial results."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from encodeonce.datasets.registry import load_benchmark
from encodeonce.harness.judging.client import JudgeUnusable
from encodeonce.harness.judging.judge import JudgePlan, judge_run, plan_judging
from encodeonce.harness.report.parts.judged import judged_tiles
from encodeonce.harness.report.summary import headline, sections
from encodeonce.harness.results.export import ExportError
from encodeonce.harness.results.run_summary import summarize_run
from encodeonce.harness.results.summary import problems
from encodeonce.harness.run.after.judge_spec import JudgeSpec
from encodeonce.harness.run.after.verdict import FILE
from encodeonce.harness.run.config import RunConfig
from encodeonce.harness.run.folder import RunFolder
from encodeonce.harness.run.jsonl import DamagedFile, JsonLinesWriter, read_json_lines
from encodeonce.harness.run.meanings import describe_variants
from encodeonce.harness.run.plan import make_plan
from encodeonce.harness.run.record import Record
from encodeonce.models.spec import NONE
from tests.datasets.benchmarks.image_layouts import llava_bench, mm_vet
from tests.harness.judging_stub import Answer, JudgeStub, completion, judging_stub

FULL, SNAP = "none/full", "none/snapkv@0.5"
TEXTS = {"v1_0": "-1 and -5", "v1_1": "a lamp", "v1_2": "1.25 {dollars}"}
GRADES = {"-1 and -5": 1.0, "a lamp": 0.4, "1.25 {dollars}": 0.7, "wrong": 0.0}


def graded(body: Mapping[str, Any], number: int) -> tuple[int, Any]:
    """Answer as a judge that knows the grade of each text."""
    message = body["messages"][1]["content"]
    (answer,) = [text for text in GRADES if f"<answer>\n{text}\n</answer>" in message]
    return 200, completion(f"So it is.\nSCORE: {GRADES[answer]}")


Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Return a function that writes a run of MM-Vet, answered under two variants."""
    options = {"folder": str(mm_vet(tmp_path)["folder"])}

    def write_run(texts: Mapping[str, Mapping[str, str | None]], **config: Any) -> Path:
        path = tmp_path / "run"
        content = RunConfig.model_validate(
            {
                "model": {"path": "demo", "dtype": "float32"},
                "benchmarks": [{"name": "mm_vet", "options": options}],
                "output": str(path),
                "kv": ["full", "snapkv@0.5"],
                **config,
            }
        )
        folder = RunFolder.create(
            content,
            checkpoint_sha256="c" * 64,
            samples_sha256=make_plan(content).samples_sha256,
            variants=describe_variants((NONE,), content.kv, lambda file: "f" * 64),
        )
        samples = {s.id: s for s in load_benchmark("mm_vet", options).samples()}
        with JsonLinesWriter(path / "records.jsonl") as file:
            for variant, answers in texts.items():
                for name, text in answers.items():
                    sample = samples[name]
                    record = Record(
                        run=folder.fingerprint,
                        benchmark="mm_vet",
                        sample=name,
                        group=sample.group,
                        variant=variant,
                        question=sample.question,
                        target=sample.target,
                        tags=sample.tags,
                        text=text,
                        score=0.0,
                    )
                    file.write(json.loads(json.dumps(record.to_dict())))
        return path

    return write_run


def spec_for(stub: JudgeStub, **changes: Any) -> JudgeSpec:
    fields = {"model": "grader", "url": stub.url, "retries": 2, "concurrency": 2, **changes}
    return JudgeSpec.model_validate(fields)


def judge(folder: Path, spec: JudgeSpec) -> JudgePlan:
    plan = plan_judging(folder, spec)
    judge_run(folder, spec, plan, first_pause_s=0.001)
    return plan


def lines(folder: Path) -> list[dict[str, Any]]:
    return list(read_json_lines(folder / FILE))


def test_answers_are_judged_once_whatever_is_asked_again(write: Write) -> None:
    folder = write({FULL: TEXTS, SNAP: {**TEXTS, "v1_0": "wrong"}})
    with judging_stub(graded) as stub:
        judge(folder, spec_for(stub))
        # Two variants, six answers, and two of them in the same words twice.
        assert len(stub.bodies) == 4
        assert len(lines(folder)) == 6
        judge(folder, spec_for(stub, concurrency=1, url=f"{stub.url}/"))
        assert len(stub.bodies) == 4 and len(lines(folder)) == 6
        body = stub.bodies[0]
    assert body["model"] == "grader" and body["temperature"] == 0.0 and body["max_tokens"] == 512
    assert [message["role"] for message in body["messages"]] == ["system", "user"]
    full, snap = summarize_run(RunFolder(folder))["judged"]
    assert full["mean"]["mean"] == pytest.approx(0.7)
    assert full["figures"]["total"] == pytest.approx(70)
    assert snap["figures"]["total"] == pytest.approx(100 * 1.1 / 3)
    assert full["input_tokens"] == 100 * full["num_requests"] and full["num_requests"] == 3
    assert (full["num_judged"], full["num_answers"], snap["num_requests"]) == (3, 3, 1)


@pytest.mark.parametrize(
    "changes",
    [{"model": "other"}, {"temperature": 0.5}, {"max_tokens": 9}, {"body": {"seed": 1}}],
)
def test_another_judge_judges_anew_and_is_not_mixed_with_the_first(
    changes: dict[str, Any], write: Write
) -> None:
    folder = write({FULL: TEXTS})
    with judging_stub(graded) as stub:
        judge(folder, spec_for(stub))
        judge(folder, spec_for(stub, **changes))
        assert len(stub.bodies) == 6
    first, second = summarize_run(RunFolder(folder))["judged"]
    assert first["judge"]["sha256"] != second["judge"]["sha256"]
    assert first["judge"]["model"] == changes.get("model", "grader")


def test_an_answer_that_changed_is_judged_anew(write: Write) -> None:
    folder = write({FULL: TEXTS})
    with judging_stub(graded) as stub:
        judge(folder, spec_for(stub))
        first, *others = (folder / "records.jsonl").read_text().splitlines()
        text = json.dumps({**json.loads(first), "text": "wrong"})
        (folder / "records.jsonl").write_text("\n".join([text, *others, ""]))
        (part,) = summarize_run(RunFolder(folder))["judged"]
        assert (part["num_judged"], part["num_answers"]) == (2, 3)
        judge(folder, spec_for(stub))
        assert len(stub.bodies) == 4
    (part,) = summarize_run(RunFolder(folder))["judged"]
    assert part["figures"]["total"] == pytest.approx(100 * 1.1 / 3)


def test_passing_refusals_are_asked_again_and_lasting_ones_named(write: Write) -> None:
    folder = write({FULL: TEXTS}, judge={"model": "grader", "url": "http://x/v1"})
    seen: dict[str, int] = {}

    def answer(body: dict[str, Any], number: int) -> tuple[int, Any]:
        message = body["messages"][1]["content"]
        seen[message] = seen.get(message, 0) + 1
        if "a lamp" in message:
            return 503, "overloaded"
        return graded(body, number) if seen[message] > 1 else (429, "slowly")

    with judging_stub(answer) as stub:
        judge(folder, spec_for(stub))
        assert sorted(seen.values()) == [2, 2, 3]  # twice again at most
    summary = summarize_run(RunFolder(folder))
    (part,) = summary["judged"]
    assert (part["num_judged"], part["num_answers"]) == (2, 3)
    (error,) = part["errors"]
    assert error["samples"] == ["v1_1"] and "503: overloaded (after 3" in error["message"]
    assert problems(summary) == ["1 of 3 answers have no verdict of grader"]
    shown = [section for section in sections(summary) if section.title == "Judged answers"]
    assert "1 answers have no verdict" in " ".join(shown[0].sentences)
    assert shown[0].table is not None and shown[0].table.rows[0][-1] == "2 of 3"
    assert "mm_vet/v1_1" in shown[0].bullets[0]
    assert any("85.0" in line and "2 of 3 judged" in line for line in headline(summary))
    (tile,) = judged_tiles(summary)
    assert (tile.value, tile.words, tile.is_bad) == ("85.0", "by grader; 2 of 3 judged", True)
    with judging_stub(graded) as stub:
        judge(folder, spec_for(stub))
        assert len(stub.bodies) == 1
    assert problems(summarize_run(RunFolder(folder))) == []


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        ((200, completion("I cannot grade this.")), "no line of the form SCORE"),
        ((200, completion("SCORE: 12")), "from 0.0 to 1.0"),
        ((200, completion("")), "the reply is empty (finish reason: stop)"),
        ((200, completion(None)), "the reply is empty"),
        ((200, "<html>"), "not a chat completion: '<html>'"),
        ((200, {"choices": []}), "not a chat completion"),
        ((200, [1]), "not a chat completion"),
        ((400, "too long"), "status 400: too long"),
    ],
)
def test_a_reply_without_a_verdict_is_an_error_and_no_grade(
    reply: tuple[int, Any], message: str, write: Write
) -> None:
    folder = write({FULL: TEXTS})

    def answer(body: dict[str, Any], number: int) -> tuple[int, Any]:
        return reply if "a lamp" in body["messages"][1]["content"] else graded(body, number)

    with judging_stub(answer) as stub:
        judge(folder, spec_for(stub))
        assert len(stub.bodies) == 3  # none of these gets better by asking again at once
    (part,) = summarize_run(RunFolder(folder))["judged"]
    assert part["num_judged"] == 2
    assert message in part["errors"][0]["message"]


@pytest.mark.parametrize("status", [401, 403, 404])
def test_what_every_request_would_meet_ends_judging_at_once(
    status: int, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_KEY", raising=False)
    folder = write({FULL: TEXTS})
    answer: Answer = lambda body, number: (status, "go away")  # noqa: E731
    with judging_stub(answer) as stub:
        with pytest.raises(JudgeUnusable, match=f"status {status}: go away.*NO_KEY is not set"):
            judge(folder, spec_for(stub, concurrency=1, api_key_env="NO_KEY"))
        assert len(stub.bodies) == 1
    assert lines(folder) == []


def test_a_server_that_is_gone_ends_judging(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("encodeonce.harness.judging.judge.MOST_IN_A_ROW", 2)
    folder = write({FULL: TEXTS})
    with judging_stub(graded) as stub:
        spec = spec_for(stub, retries=1, concurrency=1)
    with pytest.raises(JudgeUnusable, match=r"failed 2 times in a row.*Connect.*after 2 attempts"):
        judge(folder, spec)
    assert [line["error"]["type"] for line in lines(folder)] == ["JudgeError"] * 2


def test_requests_run_beside_each_other_and_carry_the_key(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    import threading

    monkeypatch.setenv("MY_KEY", "secret-1")
    folder = write({FULL: TEXTS})
    together = threading.Barrier(3, timeout=30)

    def answer(body: dict[str, Any], number: int) -> tuple[int, Any]:
        together.wait()  # would break if requests came one after the other
        return graded(body, number)

    with judging_stub(answer) as stub:
        judge(folder, spec_for(stub, concurrency=3, api_key_env="MY_KEY", retries=0))
        assert stub.most_busy == 3
        assert set(stub.keys) == {"Bearer secret-1"}
    for path in folder.iterdir():
        assert "secret-1" not in path.read_text()


def test_it_is_priced_before_it_begins(write: Write) -> None:
    folder = write({FULL: TEXTS})
    price = {"input": 2.0, "output": 10.0}
    with judging_stub(graded) as stub:
        plan = plan_judging(folder, spec_for(stub, price=price, max_tokens=100))
        written = sum(len(m.encode()) for m in _messages(plan)) / 4
        assert plan.estimate.input_tokens == pytest.approx(written, abs=3)
        expected = (2 * plan.estimate.input_tokens + 10 * 300) / 1e6
        assert plan.estimate.price == pytest.approx(expected)
        dear = spec_for(stub, price=price, max_tokens=100, max_price=expected / 2)
        with pytest.raises(JudgeUnusable, match="more than max_price.*nothing was asked"):
            judge(folder, dear)
        assert stub.bodies == []
        judge(folder, spec_for(stub, price=price, max_tokens=100, max_price=expected * 1.01))
        assert len(stub.bodies) == 3


def _messages(plan: JudgePlan) -> list[str]:
    bodies = [some[0].body for some in plan.requests.values()]
    return [message["content"] for body in bodies for message in body["messages"]]


def test_lines_that_are_no_verdicts_are_refused_and_torn_ones_asked_again(write: Write) -> None:
    folder = write({FULL: TEXTS})
    with judging_stub(graded) as stub:
        judge(folder, spec_for(stub, concurrency=1))
        whole = (folder / FILE).read_text()
        (folder / FILE).write_text(whole[:-20])  # what a kill leaves
        judge(folder, spec_for(stub, concurrency=1))
        assert len(stub.bodies) == 4 and len(lines(folder)) == 3
        (folder / FILE).write_text(whole.replace('"value": 1.0', '"value": null'))
        with pytest.raises(DamagedFile, match="a verdict has a value, or else an error"):
            plan_judging(folder, spec_for(stub))


def test_what_only_the_judge_needs_is_asked_for(write: Write, tmp_path: Path) -> None:
    folder = write({FULL: TEXTS})
    (tmp_path / "mm-vet.json").unlink()
    with judging_stub(graded) as stub, pytest.raises(ExportError, match="is not there"):
        plan_judging(folder, spec_for(stub))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"api_key": "sk-1"}, "environment variable"),
        ({"url": "localhost:8000"}, "url"),
        ({"max_price": 1}, "max_price needs price"),
        ({"body": {"messages": []}}, "messages cannot be set"),
        ({"temperature": 3}, "temperature"),
        ({"price": {"input": 1}}, "output"),
    ],
)
def test_a_section_that_is_not_allowed_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        JudgeSpec.model_validate({"model": "x", **changes})


def test_a_judge_needs_something_to_judge(tmp_path: Path) -> None:
    content = {"model": {"path": "demo"}, "output": "x", "judge": {"model": "x"}}
    with pytest.raises(ValueError, match="none of the run's benchmarks .demo. is judged.*mm_vet"):
        RunConfig.model_validate({**content, "benchmarks": [{"name": "demo"}]})
    options = llava_bench(tmp_path)
    both = [{"name": "demo"}, {"name": "llava_bench", "options": options}]
    config = RunConfig.model_validate({**content, "benchmarks": both})
    without = RunConfig.model_validate({**content, "benchmarks": both, "judge": None})
    assert config.answer_fields() == without.answer_fields()
