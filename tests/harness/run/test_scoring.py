"""Kinds of scoring: what the model is asked, what is recorded, and what is refused."""

import math
from dataclasses import replace
from pathlib import Path

import pytest

from encodeonce.datasets.benchmarks.questions import BENCHMARK
from encodeonce.datasets.media.media import MediaRef
from encodeonce.datasets.sample import BenchmarkError, Sample
from encodeonce.harness.run.config import BenchmarkSpec, RunConfig, Scoring
from encodeonce.harness.run.plan import make_plan
from encodeonce.harness.run.record import Record
from encodeonce.harness.run.scoring import (
    REFERENCE,
    check_scorable,
    continuations,
    with_generation,
    with_likelihoods,
)
from encodeonce.models.answer import Generation, Likelihoods
from encodeonce.models.spec import ModelSpec
from tests.contracts.logits import TOLERANCE
from tests.jobs.scene import Scene, make_scene, write_questions

CHOICE = Sample(
    id="colour",
    media=(MediaRef(kind="video", path="0.mp4"),),
    question="Which colour?",
    choices=("red", "green", "blue"),
    target="B",
    group="0.mp4",
)
FREE = replace(CHOICE, id="what", choices=(), target="a red car")
EMPTY = Record(run="r", benchmark="b", sample="s", group="g", question="q", target="t")


@pytest.fixture
def benchmark(tmp_path: Path) -> BENCHMARK:
    return BENCHMARK(file=tmp_path / "questions.jsonl", media_root=tmp_path)


def likelihoods(*log_probs: float) -> Likelihoods:
    return Likelihoods(
        log_probs=log_probs,
        num_tokens=(1,) * len(log_probs),
        num_visual_units=4,
        num_prompt_tokens=70,
    )


def test_options_are_compared_by_their_letters() -> None:
    assert continuations("choice_likelihood", CHOICE) == {"A": "A", "B": "B", "C": "C"}


def test_a_reference_text_is_measured_as_it_stands() -> None:
    assert continuations("nll", FREE) == {REFERENCE: "a red car"}


@pytest.mark.parametrize(
    ("log_probs", "chosen", "value"),
    [((-3.0, -0.5, -2.0), "B", 1.0), ((-0.1, -4.0, -2.0), "A", 0.0)],
)
def test_the_likeliest_option_is_the_answer(
    benchmark: BENCHMARK, log_probs: tuple[float, ...], chosen: str, value: float
) -> None:
    got = likelihoods(*log_probs)
    record = with_likelihoods(EMPTY, benchmark, CHOICE, "choice_likelihood", got)
    assert (record.text, record.extracted, record.score) == (chosen, chosen, value)
    assert record.log_probs == dict(zip("ABC", log_probs, strict=True))
    assert record.num_scored_tokens == {"A": 1, "B": 1, "C": 1}
    assert (record.num_visual_units, record.num_prompt_tokens) == (4, 70)
    assert record.num_generated_tokens == 0


def test_of_equally_likely_options_the_first_is_the_answer(benchmark: BENCHMARK) -> None:
    got = likelihoods(-1.0, -1.0, -2.0)
    record = with_likelihoods(EMPTY, benchmark, CHOICE, "choice_likelihood", got)
    assert record.text == "A"


def test_a_reference_text_has_a_likelihood_and_no_score(benchmark: BENCHMARK) -> None:
    got = replace(likelihoods(-7.5), num_tokens=(9,))
    record = with_likelihoods(EMPTY, benchmark, FREE, "nll", got)
    assert (record.text, record.extracted, record.score) == (None, None, None)
    assert record.log_probs == {REFERENCE: -7.5}
    assert record.num_scored_tokens == {REFERENCE: 9}


def test_likelihoods_that_are_too_many_are_no_answer(benchmark: BENCHMARK) -> None:
    with pytest.raises(ValueError, match="zip"):
        with_likelihoods(EMPTY, benchmark, CHOICE, "choice_likelihood", likelihoods(-1.0, -2.0))


def test_a_generated_answer_is_scored_by_the_benchmark(benchmark: BENCHMARK) -> None:
    got = Generation(
        text="The answer is (B).",
        token_ids=(5, 6, 7),
        logits_sha256="0" * 64,
        first_logits={5: 1.5},
        num_visual_units=4,
        num_prompt_tokens=70,
    )
    record = with_generation(EMPTY, benchmark, CHOICE, got)
    assert (record.text, record.extracted, record.score) == ("The answer is (B).", "B", 1.0)
    assert record.first_logits == {"5": 1.5}
    assert record.num_generated_tokens == 3


@pytest.mark.parametrize(
    ("scoring", "sample", "message"),
    [
        ("choice_likelihood", FREE, "'what' has none; use scoring: generate"),
        ("nll", replace(CHOICE, target=""), "'colour' has none"),
    ],
)
def test_a_sample_that_cannot_be_scored_so_is_refused(
    scoring: Scoring, sample: Sample, message: str
) -> None:
    with pytest.raises(BenchmarkError, match=message):
        check_scorable(scoring, sample)
    check_scorable("generate", sample)


def test_it_is_refused_when_the_plan_is_made(tmp_path: Path) -> None:
    write_questions(tmp_path, [{"id": 1, "question": "Where?", "answer": "here", "video": "0.mp4"}])
    options = {"file": str(tmp_path / "questions.jsonl"), "media_root": str(tmp_path)}
    spec = BenchmarkSpec(name="questions", scoring="choice_likelihood", options=options)
    config = RunConfig(model=ModelSpec(path="demo"), benchmarks=(spec,), output=tmp_path / "out")
    with pytest.raises(BenchmarkError, match="compares the likelihoods of options"):
        make_plan(config)


def with_scoring(scene: Scene, scoring: Scoring) -> list[dict[str, object]]:
    options = {
        "file": str(scene.folder / "questions.jsonl"),
        "media_root": str(scene.media_root),
    }
    benchmark = {"name": "questions", "scoring": scoring, "options": options}
    done = scene.execute("run", benchmarks=[benchmark], check_uncached="all")
    assert done.exit_code == 0, done.output
    return scene.lines("records")


def test_a_run_by_likelihood_agrees_with_the_whole_model(tmp_path: Path) -> None:
    scene = make_scene(tmp_path, num_clips=1)
    asked = {"question": "Which?", "video": "0.mp4", "choices": ["red", "green"], "answer": "green"}
    write_questions(tmp_path, [{**asked, "id": 1}, {**asked, "id": 2, "question": "Which one?"}])
    records = with_scoring(scene, "choice_likelihood")
    plain = {line["sample"]: line for line in scene.lines("uncached")}
    assert len(records) == 2
    for record in records:
        assert record["text"] in ("A", "B")
        other = plain[record["sample"]]["log_probs"]
        assert record["log_probs"] == pytest.approx(other, abs=10 * TOLERANCE)
        total = sum(math.exp(value) for value in other.values())
        assert 0 < total < 1
    assert scene.report()["comparison"]["largest_log_prob_difference"] < 10 * TOLERANCE


def test_a_run_by_nll_reports_no_accuracy(tmp_path: Path) -> None:
    scene = make_scene(tmp_path, num_clips=1)
    records = with_scoring(scene, "nll")
    assert [record["score"] for record in records] == [None, None]
    assert all(record["log_probs"][REFERENCE] < 0 for record in records)  # type: ignore[index]
    assert all(record["num_scored_tokens"] == {REFERENCE: 3} for record in records)  # "yes"
    accuracy = scene.report()["evaluation"]["benchmarks"]["questions"]
    assert accuracy["accuracy"] is None
    total = -sum(record["log_probs"][REFERENCE] for record in records)  # type: ignore[index]
    assert accuracy["nll"]["per_token"] == pytest.approx(total / 6)
