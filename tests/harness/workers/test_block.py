"""The calls to a decoder, and the handling of settings that fail."""

from collections.abc import Hashable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from encodeonce.cache_store.store import MissingFeatures
from encodeonce.datasets.media.media import MediaRef
from encodeonce.datasets.sample import Sample
from encodeonce.harness.run.config import RunConfig
from encodeonce.harness.run.plan import Branch, MediaGroup
from encodeonce.harness.run.record import SampleError
from encodeonce.harness.workers.block import AskedBranch, BlockEvaluator, Found, SettingResults
from encodeonce.models.answer import Generation, Likelihoods
from encodeonce.models.kv.spec import FULL, KVSpec
from encodeonce.models.language.adapting import BASE
from encodeonce.models.language.context import PromptTooLong
from encodeonce.models.spec import NONE, GenerationSpec
from encodeonce.models.vision.visual import Visual

HALF = KVSpec(method="snapkv", keep=0.5)
TENTH = KVSpec(method="snapkv", keep=0.1)


class EchoDecoder:
    """Answers with the setting and the question; records every sweep; fails where told to."""

    def __init__(self, broken: Sequence[str] = (), most_settings: int = 9) -> None:
        self.broken, self.most_settings = broken, most_settings
        self.sweeps: list[tuple[str, ...]] = []
        self.places: list[tuple[int, ...]] = []

    def check(self, question: str) -> None:
        if "<image>" in question:
            raise ValueError("a placeholder in the question")

    def prefill(
        self, visuals: Sequence[Visual], settings: Sequence[KVSpec], adapter: int = BASE
    ) -> Any:
        return SimpleNamespace(seconds={"prefill": 5.0})

    def check_behind(self, prefix: Any, question: str, answer: int | Sequence[str]) -> None:
        if question == "z":
            raise PromptTooLong(f"no room for {question} and {answer}")

    def engine(
        self,
        generation: GenerationSpec,
        settings: Sequence[KVSpec],
        *,
        fidelity: bool = False,
    ) -> "EchoEngine":
        return EchoEngine(self, settings)

    def score(
        self,
        prefix: Any,
        questions: Sequence[str],
        continuations: Sequence[Sequence[str]],
        settings: Sequence[KVSpec],
    ) -> list[list[Likelihoods]]:
        self.note(settings)
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

    def note(self, settings: Sequence[KVSpec], *places: int) -> None:
        self.sweeps.append(tuple(kv.title for kv in settings))
        self.places.append(places)
        if len(settings) > self.most_settings or any(kv.title in self.broken for kv in settings):
            raise RuntimeError("out of memory")


class EchoEngine:
    """Holds questions until they are answered together."""

    def __init__(self, decoder: EchoDecoder, settings: Sequence[KVSpec]) -> None:
        self.decoder, self.settings = decoder, settings
        self.asked: dict[Hashable, tuple[Sequence[str], int]] = {}

    def ask(self, key: Hashable, prefix: Any, questions: Sequence[str], place: int = 0) -> None:
        self.asked[key] = questions, place

    def finish(self) -> dict[Hashable, list[list[Generation]]]:
        self.decoder.note(self.settings, *(place for _, place in self.asked.values()))
        if any("poison" in questions for questions, _ in self.asked.values()):
            raise RuntimeError("poisoned")
        return {
            key: [[echo(kv, question) for question in questions] for kv in self.settings]
            for key, (questions, _) in self.asked.items()
        }


def echo(kv: KVSpec, question: str) -> Generation:
    return Generation(
        text=f"{kv.title} {question}",
        token_ids=(1,),
        logits_sha256="",
        first_logits={},
        num_visual_units=1,
        num_prompt_tokens=9,
        seconds={"generate": 1.0},
    )


def evaluator(tmp_path: Path, scoring: str = "generate", fidelity: bool = False) -> BlockEvaluator:
    config = RunConfig.model_validate(
        {
            "model": {"path": "demo"},
            "benchmarks": [{"name": "demo", "scoring": scoring}],
            "kv": ["full", HALF, TENTH],
            "fidelity": fidelity,
            "output": tmp_path,
        }
    )
    return BlockEvaluator(config)


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


def evaluate(one: BlockEvaluator, decoder: Any, what: Branch) -> Found:
    (found,) = one.evaluate(decoder, [seated(what)])
    return found


def seated(what: Branch, place: int = 0) -> AskedBranch:
    return AskedBranch(branch=what, place=place, visuals=list)


def missing() -> list[Visual]:
    raise MissingFeatures([], "gone.mp4")


def named(name: str) -> Branch:
    """Return a branch with one question, its name, and two settings."""
    what = branch(FULL, HALF)
    return replace(what, group=replace(what.group, prompts=(name,), together=(name,)))


def test_the_groups_of_a_block_are_answered_together_at_their_places(tmp_path: Path) -> None:
    decoder = EchoDecoder()
    block = [seated(named("a"), 0), seated(named("b"), 5)]
    one, other = evaluator(tmp_path).evaluate(decoder, block)
    assert decoder.places == [(0, 5)]
    assert text(one) == "full a"
    assert text(other) == "full b"


def test_features_that_are_missing_fail_their_own_group(tmp_path: Path) -> None:
    decoder = EchoDecoder()
    block = [seated(named("a")), replace(seated(named("b"), 1), visuals=missing)]
    one, other = evaluator(tmp_path).evaluate(decoder, block)
    assert text(one) == "full a"
    assert [type(result) for result in other.values()] == [SampleError, SampleError]
    assert len(decoder.sweeps) == 1


def test_a_block_that_fails_is_halved_until_the_culprit_is_alone(tmp_path: Path) -> None:
    decoder = EchoDecoder()
    names = ["a", "b", "poison", "d"]
    block = [seated(named(name), place) for place, name in enumerate(names)]
    found = evaluator(tmp_path).evaluate(decoder, block)
    assert [text(one) for one in (found[0], found[1], found[3])] == ["full a", "full b", "full d"]
    assert {result.message for result in found[2].values()} == {"poisoned"}
    # Everyone at the same place as before: no bit of an answer changes.
    assert decoder.places == [(0, 1, 2, 3), (0, 1), (2, 3), (2,), (2,), (2,), (3,)]


def test_groups_that_lack_other_settings_are_answered_apart(tmp_path: Path) -> None:
    decoder = EchoDecoder()
    block = [seated(branch(FULL)), seated(branch(FULL, HALF), 3)]
    evaluator(tmp_path).evaluate(decoder, block)
    assert decoder.sweeps == [("full",), ("full", "snapkv@0.5")]


def text(found: Found) -> str:
    full = found["full"]
    assert isinstance(full, SettingResults)
    (answer,) = full.results.values()
    assert isinstance(answer, Generation)
    return answer.text


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
