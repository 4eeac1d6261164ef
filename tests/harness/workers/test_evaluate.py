"""The calls to a decoder, and the handling of settings that fail."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from encodeonce.datasets.media.media import MediaRef
from encodeonce.datasets.sample import Sample
from encodeonce.harness.run.config import RunConfig
from encodeonce.harness.run.plan import Branch, MediaGroup
from encodeonce.harness.run.record import SampleError
from encodeonce.harness.workers.evaluate import BranchEvaluator, SettingResults
from encodeonce.models.kv.spec import FULL, KVSpec
from encodeonce.models.language.context import PromptTooLong
from encodeonce.models.language.generation import Generation, GenerationSpec
from encodeonce.models.language.likelihood import Likelihoods
from encodeonce.models.spec import NONE
from encodeonce.models.vision.visual import Visual

HALF = KVSpec(method="snapkv", keep=0.5)
TENTH = KVSpec(method="snapkv", keep=0.1)


class EchoDecoder:
    """Answers with the setting and the question; records every sweep; fails where told to."""

    def __init__(self, broken: Sequence[str] = (), most_settings: int = 9) -> None:
        self.broken, self.most_settings = broken, most_settings
        self.sweeps: list[tuple[str, ...]] = []

    def check(self, question: str) -> None:
        if "<image>" in question:
            raise ValueError("a placeholder in the question")

    def prefill(self, visuals: Sequence[Visual], settings: Sequence[KVSpec]) -> Any:
        return SimpleNamespace(seconds={"prefill": 5.0})

    def check_behind(self, prefix: Any, question: str, answer: int | Sequence[str]) -> None:
        if question == "z":
            raise PromptTooLong(f"no room for {question} and {answer}")

    def answer(
        self,
        prefix: Any,
        questions: Sequence[str],
        generation: GenerationSpec,
        settings: Sequence[KVSpec],
        *,
        fidelity: bool = False,
    ) -> list[list[Generation]]:
        self._note(settings)
        return [
            [
                Generation(
                    text=f"{kv.title} {question}",
                    token_ids=(1,),
                    logits_sha256="",
                    first_logits={},
                    num_visual_units=1,
                    num_prompt_tokens=9,
                    seconds={"generate": 1.0},
                )
                for question in questions
            ]
            for kv in settings
        ]

    def score(
        self,
        prefix: Any,
        questions: Sequence[str],
        continuations: Sequence[Sequence[str]],
        settings: Sequence[KVSpec],
    ) -> list[list[Likelihoods]]:
        self._note(settings)
        return [
            [
                Likelihoods(
                    log_probs=(-1.0,) * len(texts),
                    num_tokens=(2,) * len(texts),
                    num_visual_units=1,
                    num_prompt_tokens=9,
                    seconds={"score": 1.0},
                )
                for texts in continuations
            ]
            for _ in settings
        ]

    def _note(self, settings: Sequence[KVSpec]) -> None:
        self.sweeps.append(tuple(kv.title for kv in settings))
        if len(settings) > self.most_settings or any(kv.title in self.broken for kv in settings):
            raise RuntimeError("out of memory")


def evaluator(tmp_path: Path, scoring: str = "generate", fidelity: bool = False) -> BranchEvaluator:
    config = RunConfig.model_validate(
        {
            "model": {"path": "demo"},
            "benchmarks": [{"name": "demo", "scoring": scoring}],
            "kv": ["full", HALF, TENTH],
            "fidelity": fidelity,
            "output": tmp_path,
        }
    )
    return BranchEvaluator(config)


def branch(*settings: KVSpec, asked: str = "a", questions: str = "abc") -> Branch:
    media = (MediaRef(kind="video", path="1.mp4"),)
    samples = tuple(
        Sample(id=name, media=media, question=name, target="yes", group="1") for name in asked
    )
    group = MediaGroup(
        benchmark="demo",
        root=Path(),
        media=media,
        samples=samples,
        prompts=tuple(asked),
        together=tuple(questions),
    )
    missing = frozenset((name, kv.title) for name in asked for kv in settings)
    return Branch(group=group, weights=NONE, settings=settings, missing=missing)


def evaluate(
    one: BranchEvaluator, decoder: Any, what: Branch
) -> dict[str, SettingResults | SampleError]:
    return one.evaluate(decoder, [], what)


def test_all_settings_are_asked_at_once_and_all_questions_with_them(tmp_path: Path) -> None:
    decoder = EchoDecoder()
    found = evaluate(evaluator(tmp_path), decoder, branch(FULL, HALF))
    assert decoder.sweeps == [("full", "snapkv@0.5")]
    full, half = found["full"], found["snapkv@0.5"]
    assert isinstance(full, SettingResults)
    assert isinstance(half, SettingResults)
    assert isinstance(half.results["a"], Generation)
    assert half.results["a"].text == "snapkv@0.5 a"
    assert half.results.keys() == {"a"}
    # The seconds are those of all three questions, whoever is answered already.
    assert full.seconds == {"generate": 3.0, "prefill": 5.0}
    assert half.seconds == {"generate": 3.0}


def test_a_setting_that_fails_takes_no_other_with_it(tmp_path: Path) -> None:
    decoder = EchoDecoder(broken=["snapkv@0.1"])
    found = evaluate(evaluator(tmp_path), decoder, branch(FULL, HALF, TENTH))
    assert found["snapkv@0.1"] == SampleError(type="RuntimeError", message="out of memory")
    assert isinstance(found["full"], SettingResults)
    assert isinstance(found["snapkv@0.5"], SettingResults)


def test_settings_that_do_not_fit_together_are_asked_one_by_one(tmp_path: Path) -> None:
    decoder = EchoDecoder(most_settings=1)
    found = evaluate(evaluator(tmp_path), decoder, branch(FULL, HALF))
    assert [len(settings) for settings in decoder.sweeps] == [2, 1, 1]
    assert all(isinstance(one, SettingResults) for one in found.values())


def test_fidelity_has_the_full_cache_answer_beside_it(tmp_path: Path) -> None:
    decoder = EchoDecoder()
    found = evaluate(evaluator(tmp_path, fidelity=True), decoder, branch(HALF))
    assert decoder.sweeps == [("snapkv@0.5", "full")]
    assert found.keys() == {"snapkv@0.5"}
    half = found["snapkv@0.5"]
    assert isinstance(half, SettingResults)
    # What the comparison took is on the setting that it is for, and is no part of its answer.
    assert half.seconds == {"generate": 3.0, "compare": 3.0, "prefill": 5.0}


def test_what_settings_are_compared_with_is_booked_on_all_of_them(tmp_path: Path) -> None:
    found = evaluate(evaluator(tmp_path, fidelity=True), EchoDecoder(), branch(HALF, TENTH))
    seconds = [one.seconds for one in found.values() if isinstance(one, SettingResults)]
    assert seconds == [
        {"generate": 3.0, "compare": 1.5, "prefill": 5.0},
        {"generate": 3.0, "compare": 1.5},
    ]


@pytest.mark.parametrize("scoring", ["generate", "nll"])
def test_a_question_that_cannot_be_asked_is_not_put(tmp_path: Path, scoring: str) -> None:
    decoder = EchoDecoder()
    what = branch(HALF)
    group = replace(what.group, prompts=("<image>",), together=("<image>",))
    unaskable = replace(what, group=group)
    found = evaluate(evaluator(tmp_path, scoring), decoder, unaskable)
    assert decoder.sweeps == []
    assert found["snapkv@0.5"] == SettingResults(results={}, seconds={})


def test_likelihoods_are_measured_under_every_setting(tmp_path: Path) -> None:
    decoder = EchoDecoder()
    found = evaluate(evaluator(tmp_path, "nll"), decoder, branch(FULL, HALF, asked="ab"))
    half = found["snapkv@0.5"]
    assert isinstance(half, SettingResults)
    assert half.results.keys() == {"a", "b"}
    assert half.seconds == {"score": 2.0}


@pytest.mark.parametrize("scoring", ["generate", "nll"])
def test_a_question_without_room_fails_alone(tmp_path: Path, scoring: str) -> None:
    decoder = EchoDecoder()
    what = branch(FULL, HALF, asked="az", questions="abz")
    found = evaluate(evaluator(tmp_path, scoring), decoder, what)
    assert decoder.sweeps == [("full", "snapkv@0.5")]
    for one in found.values():
        assert isinstance(one, SettingResults)
        error = one.results["z"]
        assert isinstance(error, SampleError)
        assert error.type == "PromptTooLong"
        assert error.message.startswith("no room for z and ")
        assert not isinstance(one.results["a"], SampleError)


def test_where_no_question_has_room_none_is_put(tmp_path: Path) -> None:
    decoder = EchoDecoder()
    found = evaluate(evaluator(tmp_path), decoder, branch(HALF, asked="z", questions="abz"))
    assert decoder.sweeps == []
    half = found["snapkv@0.5"]
    assert isinstance(half, SettingResults)
    assert isinstance(half.results["z"], SampleError)
    assert half.seconds == {"prefill": 5.0}
