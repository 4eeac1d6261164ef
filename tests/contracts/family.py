"""The contract of every model family. A family's test class inherits this and gives a checkpoint.

Everything is compared on the CPU in float32, through numpy arrays, with a tower that is not even
loaded in the decoder: bit for bit what is computed in the same shapes, and within a tolerance what
is not (`tests.contracts.logits`).
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import DynamicCache

from encodeonce.cache_store.hdf5 import Hdf5Store
from encodeonce.cache_store.store import Entry
from encodeonce.datasets.media.info import MediaInfo
from encodeonce.datasets.media.media import Frames, MediaKind
from encodeonce.models.answer import Generation
from encodeonce.models.checkpoint.files import CheckpointError
from encodeonce.models.checkpoint.remote_code import code_sha256
from encodeonce.models.family import Family, find_family
from encodeonce.models.language.plain import generate
from encodeonce.models.spec import GenerationSpec, ModelSpec, RemoteCode, Tap, VisionSpec
from encodeonce.models.vision.visual import Decoded, Visual
from tests.asking import answered
from tests.contracts.kv import KVContract
from tests.contracts.logits import TOLERANCE, NotedLogits
from tests.processors import only_reproducible

QUESTION = "What is shown?"
QUESTIONS = (QUESTION, "Where?", "How often does the red circle cross the line?", "What was shown?")
SHORT = GenerationSpec(max_new_tokens=6)


def spec(folder: Path) -> ModelSpec:
    """Return a checkpoint in float32, with whatever code comes with it trusted."""
    has_code = any(folder.glob("*.py"))
    trusted = RemoteCode(sha256=code_sha256(folder)) if has_code else None
    return ModelSpec(path=str(folder), dtype="float32", device="cpu", trust_remote_code=trusted)


def media_info(
    kind: MediaKind, width: int, height: int, num_frames: int, decoder: str = "a decoder"
) -> MediaInfo:
    return MediaInfo(
        kind=kind,
        width=width,
        height=height,
        codec="h264" if kind == "video" else "PNG",
        timestamps_s=tuple(n * 0.5 for n in range(num_frames)),
        fps=2.0 if num_frames > 1 else 0.0,
        backend="pyav" if kind == "video" else "pillow",
        decoder=decoder,
        index=None,
    )


class Scene:
    """A made-up picture or video and the frames of it that are used."""

    def __init__(
        self,
        kind: MediaKind,
        frames: Sequence[int] = (0,),
        size: tuple[int, int] = (40, 48),
        seed: int = 0,
    ) -> None:
        self.size = size
        self.seed = seed
        self.indices = tuple(frames)
        self.info = media_info(kind, *size, num_frames=max(frames) + 1)

    def frames(self, indices: Sequence[int]) -> Frames:
        width, height = self.size
        every = np.random.default_rng(self.seed).integers(
            0, 256, (self.info.num_frames, height, width, 3), dtype=np.uint8
        )
        chosen = sorted(set(indices))
        times = tuple(self.info.timestamps_s[index] for index in chosen)
        return Frames(pixels_THWC=every[chosen], timestamps_s=times)


class ChangedScene(Scene):
    """A scene some of whose pixels are changed."""

    def __init__(self, scene: Scene, change: Callable[[np.ndarray[Any, Any]], None]) -> None:
        super().__init__(scene.info.kind, scene.indices, scene.size, scene.seed)
        self._change = change

    def frames(self, indices: Sequence[int]) -> Frames:
        frames = super().frames(indices)
        pixels_THWC = frames.pixels_THWC.copy()
        self._change(pixels_THWC)
        return Frames(pixels_THWC=pixels_THWC, timestamps_s=frames.timestamps_s)


def negative_of_last(pixels_THWC: np.ndarray[Any, Any]) -> None:
    pixels_THWC[-1] = 255 - pixels_THWC[-1]


def exchange_first(pixels_THWC: np.ndarray[Any, Any]) -> None:
    pixels_THWC[:2] = pixels_THWC[1::-1]


class Model:
    """A checkpoint and where its features are taken, with the parts loaded once."""

    def __init__(self, folder: Path, vision: VisionSpec) -> None:
        self.family: Family
        self.family, self.folder = find_family(spec(folder))
        self.vision_spec = vision
        self.vision = self.family.vision(self.folder, spec(folder), vision)
        self.tower: Any = self.vision.load()
        self.decoder: Any = self.family.decoder(self.folder, spec(folder), vision)
        self.reference = self.family.reference(self.folder, spec(folder))

    def visual(self, scene: Scene, only: Sequence[int] | None = None) -> Visual:
        """Encode a scene's units, or those at the positions ``only``."""
        units = self.vision.units(scene.info, scene.indices)
        units = tuple(units[n] for n in only) if only is not None else units
        signature = self.vision.signature(scene.info, scene.indices)
        frames = scene.frames([frame for unit in units for frame in unit.frames])
        features = self.tower.encode(self.tower.preprocess(frames, signature))
        assert features.num_units == len(units)
        return Visual(info=scene.info, units=units, features=features)

    def cached(self, *scenes: Scene) -> Generation:
        visuals = [self.visual(scene) for scene in scenes]
        (answer,) = answered(self.decoder, visuals, [QUESTION], SHORT)
        return answer

    def plain(self, *scenes: Scene) -> Generation:
        return self.reference.answer(self.decoded(*scenes), QUESTION, SHORT)

    def plain_in_two_steps(self, *scenes: Scene) -> Generation:
        """Answer by the whole model, from pixels, with the decoder's split of the prefill."""
        model = self.reference.model
        inputs = self.reference.inputs(self.decoded(*scenes), QUESTION)
        prompt = {
            "input_ids": inputs["input_ids"],
            "attention_mask": inputs["attention_mask"],
            "position_ids": model._prepare_position_ids_for_generation(inputs["input_ids"], inputs),
        }
        return generate(
            model,
            self.decoder._tokenizer,
            {**prompt, "past_key_values": self.plain_prefix(*scenes)},
            SHORT,
            num_visual_units=0,
            prepare_s=0.0,
        )

    def plain_prefix(self, *scenes: Scene) -> DynamicCache:
        """Prefill the decoder's prefix by the whole model, from pixels."""
        model = self.reference.model
        inputs = self.reference.inputs(self.decoded(*scenes), QUESTION)
        length = inputs["input_ids"].shape[1]
        split = self.decoder.prefill([self.visual(scene) for scene in scenes]).num_tokens
        assert 0 < split < length
        first = {
            name: value[:, :split] if name in PER_TOKEN else value for name, value in inputs.items()
        }
        if "inputs_embeds" in first:
            del first["input_ids"]
        cache = DynamicCache(config=model.config.get_text_config())
        with torch.inference_mode():
            model(**first, past_key_values=cache, use_cache=True)
        return cache

    def decoded(self, *scenes: Scene) -> list[Decoded]:
        media = []
        for scene in scenes:
            units = self.vision.units(scene.info, scene.indices)
            frames = scene.frames(scene.indices)
            media.append(Decoded(info=scene.info, units=units, frames=frames))
        return media


PER_TOKEN = (
    "input_ids",
    "attention_mask",
    "inputs_embeds",
    "token_type_ids",
    "mm_token_type_ids",
)
"""Arguments of a model's forward with one value a token."""


def change_one_weight(folder: Path, part: str) -> None:
    for path in sorted(folder.rglob("*.safetensors")):
        weights = load_file(path)
        names = [name for name in sorted(weights) if part in f"{path}:{name}"]
        names = [name for name in names if weights[name].dim() == 2]
        if names:
            changed = weights[names[0]].clone()
            changed[0, 0] += 1e-6
            save_file({**weights, names[0]: changed}, path, metadata={"format": "pt"})
            return
    raise AssertionError(f"no weight of {part} in {folder}")


def digests_of(answers: Sequence[Generation]) -> list[str]:
    return [answer.logits_sha256 for answer in answers]


def _fail(*_: Any) -> None:
    raise RuntimeError("in the middle of a group")


IMAGE = Scene("image")
WIDE = Scene("image", size=(88, 40), seed=1)
VIDEO = Scene("video", range(0, 12, 3), seed=2)
SHORT_CLIP = Scene("video", (0, 1, 2), seed=3)
ONE_FRAME = Scene("video", (5,), seed=4)
LAST_NEGATIVE = ChangedScene(VIDEO, negative_of_last)
EXCHANGED = ChangedScene(VIDEO, exchange_first)

SCENES: dict[str, tuple[Scene, ...]] = {
    "image": (IMAGE,),
    "several images": (IMAGE, WIDE, Scene("image", seed=5)),
    "video": (VIDEO,),
    "several videos": (VIDEO, Scene("video", (1, 4, 5, 9), seed=6)),
    "one frame": (ONE_FRAME,),
    "short clip of odd length": (SHORT_CLIP,),
    "image and video": (WIDE, SHORT_CLIP),
    "no media": (),
}


def told_apart(tower: str, projector: str, language: str) -> dict[str, dict[Tap, bool]]:
    """Return `FamilyContract.matters` of a model with a projector, by names of the three parts."""
    return {
        tower: {"tower": True, "projected": True},
        projector: {"tower": False, "projected": True},
        language: {"tower": False, "projected": False},
    }


class FamilyContract(KVContract, ABC):
    """Inherited by the test of every file in models/families/."""

    questions = QUESTIONS

    family: ClassVar[str]
    """The name of its file in models/families/."""
    taps: ClassVar[tuple[Tap, ...]] = ("tower", "projected")
    matters: ClassVar[dict[str, dict[Tap, bool]]]
    """Part of a weight's name, and at which taps it is in the signature."""

    loaded_as: ClassVar[Mapping[str, str]] = {}
    """Parts that have another name in memory."""

    @staticmethod
    @abstractmethod
    def write(folder: Path) -> Path:
        """Write a tiny random checkpoint."""

    @pytest.fixture(scope="class")
    @classmethod
    def checkpoint(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        return cls.write(tmp_path_factory.mktemp("checkpoint"))

    @pytest.fixture(scope="class")
    @classmethod
    def models(cls, checkpoint: Path) -> dict[Tap, Model]:
        return {tap: Model(checkpoint, VisionSpec(tap=tap)) for tap in cls.taps}

    @pytest.mark.parametrize("case", SCENES)
    def test_features_through_arrays_give_the_logits_of_the_plain_model(
        self, models: dict[Tap, Model], case: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Whether that prefills in one go or as we do."""
        logits = NotedLogits(monkeypatch)
        plain = models[self.taps[-1]].plain(*SCENES[case])
        split = models[self.taps[-1]].plain_in_two_steps(*SCENES[case])
        for model in models.values():
            cached = model.cached(*SCENES[case])
            assert cached.num_prompt_tokens == plain.num_prompt_tokens
            logits.assert_close(cached, plain)
            logits.assert_close(cached, split)

    @only_reproducible
    @pytest.mark.parametrize("case", SCENES)
    def test_prefilled_alike_the_plain_model_gives_the_same_bits(
        self, models: dict[Tap, Model], case: str
    ) -> None:
        """It encodes several frames as one batch, we never do."""
        plain: Any = models[self.taps[-1]].plain_prefix(*SCENES[case])
        for model in models.values():
            ours = model.decoder.prefill([model.visual(scene) for scene in SCENES[case]])
            for mine, its in zip(ours.layers, plain.layers, strict=True):
                assert torch.equal(mine.keys, its.keys)
                assert torch.equal(mine.values, its.values)

    def test_what_is_shown_and_asked_matters_more_than_rounding(
        self, models: dict[Tap, Model], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Without this, comparing within a tolerance would say little."""
        logits = NotedLogits(monkeypatch)
        for model in models.values():
            right = model.cached(VIDEO)
            visuals = [model.visual(VIDEO)]
            punctuated = answered(model.decoder, visuals, [f"{QUESTION}."], SHORT)
            for wrong in (model.cached(LAST_NEGATIVE), model.cached(EXCHANGED), *punctuated):
                assert logits.first_difference(right, wrong) > 5 * TOLERANCE

    def visuals(self, model: Any) -> list[Visual]:
        """Return two media items."""
        return [model.visual(WIDE), model.visual(SHORT_CLIP)]

    def test_media_are_read_in_order(self, models: dict[Tap, Model]) -> None:
        other = Scene("image", seed=7)
        for model in models.values():
            assert model.cached(IMAGE, other).logits_sha256 != (
                model.cached(other, IMAGE).logits_sha256
            )

    def test_pictures_change_the_logits(self, models: dict[Tap, Model]) -> None:
        for model in models.values():
            assert model.cached(IMAGE).logits_sha256 != (
                model.cached(Scene("image", seed=8)).logits_sha256
            )

    def test_a_question_does_not_remember_the_one_before(self, models: dict[Tap, Model]) -> None:
        for model in models.values():
            first = model.cached(VIDEO).logits_sha256
            model.cached(WIDE, ONE_FRAME)
            assert model.cached(VIDEO).logits_sha256 == first

    def test_questions_answered_together_are_answered_as_one_at_a_time(
        self, models: dict[Tap, Model], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        logits = NotedLogits(monkeypatch)
        for model in models.values():
            visuals = [model.visual(WIDE), model.visual(SHORT_CLIP)]
            together = answered(model.decoder, visuals, QUESTIONS, SHORT)
            for question, answer in zip(QUESTIONS, together, strict=True):
                (alone,) = answered(model.decoder, visuals, [question], SHORT)
                assert answer.num_prompt_tokens == alone.num_prompt_tokens
                logits.assert_close(answer, alone)

    def test_neither_order_nor_repetition_nor_other_videos_in_between_change_a_bit(
        self, models: dict[Tap, Model]
    ) -> None:
        for model in models.values():
            decoder, one, other = model.decoder, [model.visual(VIDEO)], [model.visual(WIDE)]
            first = digests_of(answered(decoder, one, QUESTIONS, SHORT))
            held = decoder.prefill(one)
            answered(decoder, other, QUESTIONS[:2], SHORT)
            decoder.prefill(other)
            assert digests_of(decoder.answer(held, QUESTIONS, SHORT)[0]) == first
            assert digests_of(decoder.answer(held, QUESTIONS, SHORT)[0]) == first
            backwards = answered(decoder, one, QUESTIONS[::-1], SHORT)
            assert digests_of(backwards)[::-1] == first

    def test_the_model_keeps_nothing_of_a_prefix_even_when_a_question_fails(
        self, models: dict[Tap, Model], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for model in models.values():
            decoder = model.decoder

            def kept(decoder: Any = decoder) -> dict[str, Any]:
                state = {name: attrgetter(name)(decoder._model) for name in self.state}
                return {name: None if s is None else s.tolist() for name, s in state.items()}

            before = kept()
            visuals = [model.visual(VIDEO)]
            first = digests_of(answered(decoder, visuals, QUESTIONS, SHORT))
            assert kept() == before
            held = decoder.prefill(visuals)
            decoder.prefill([model.visual(WIDE)])
            assert kept() == before
            with monkeypatch.context() as patch:
                patch.setattr("encodeonce.models.language.generation.Answering.write", _fail)
                with pytest.raises(RuntimeError, match="in the middle"):
                    answered(decoder, [model.visual(WIDE)], QUESTIONS, SHORT)
            assert kept() == before
            assert digests_of(decoder.answer(held, QUESTIONS, SHORT)[0]) == first

    state: ClassVar[tuple[str, ...]] = ()
    """Attributes of the model that a prompt leaves behind."""

    def test_a_smaller_batch_answers_the_same(
        self, models: dict[Tap, Model], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        logits = NotedLogits(monkeypatch)
        model = models[self.taps[-1]]
        visuals = [model.visual(VIDEO)]
        pairs = SHORT.model_copy(update={"max_batch": 2})
        together = answered(model.decoder, visuals, QUESTIONS, SHORT)
        in_pairs = answered(model.decoder, visuals, QUESTIONS, pairs)
        for one, other in zip(in_pairs, together, strict=True):
            logits.assert_close(one, other)

    def test_likelihoods_are_those_of_the_plain_model(self, models: dict[Tap, Model]) -> None:
        texts = ["A", "B", "a red car", "nothing"]
        plain_model = models[self.taps[-1]]
        media = plain_model.decoded(WIDE, SHORT_CLIP)
        plain = [plain_model.reference.likelihoods(media, q, texts) for q in QUESTIONS]
        for model in models.values():
            visuals = [model.visual(WIDE), model.visual(SHORT_CLIP)]
            prefix = model.decoder.prefill(visuals)
            (ours,) = model.decoder.score(prefix, QUESTIONS, [texts] * len(QUESTIONS))
            for one, other in zip(ours, plain, strict=True):
                assert one.log_probs == pytest.approx(other.log_probs, abs=10 * TOLERANCE)
                assert one.num_tokens == other.num_tokens
                assert one.are_greedy == other.are_greedy
                assert one.num_prompt_tokens == other.num_prompt_tokens
                assert len(set(one.log_probs)) == len(texts)

    def test_features_do_not_depend_on_which_units_are_encoded_beside_them(
        self, models: dict[Tap, Model]
    ) -> None:
        for model in models.values():
            together = model.visual(VIDEO)
            for n in range(len(together.units)):
                alone = model.visual(VIDEO, only=[n]).features
                for name, array in together.features.arrays.items():
                    assert np.array_equal(alone.arrays[name][0], array[n])

    def test_features_survive_the_store(self, models: dict[Tap, Model], tmp_path: Path) -> None:
        for tap, model in models.items():
            store = Hdf5Store(tmp_path / tap)
            for scene in (WIDE, SHORT_CLIP):
                visual = model.visual(scene)
                entry = Entry(
                    signature=model.vision.signature(scene.info, scene.indices),
                    media=hashlib.sha256(scene.info.kind.encode()).hexdigest(),
                    units=tuple(unit.name for unit in visual.units),
                    features=visual.features,
                )
                store.put([entry])
                read = store.get(entry.keys)
                stored = Visual(info=scene.info, units=visual.units, features=read)
                answers = [
                    answered(model.decoder, [one], [QUESTION], SHORT)[0].logits_sha256
                    for one in (visual, stored)
                ]
                assert answers[0] == answers[1]

    def test_a_larger_micro_batch_still_leaves_units_alone(self, checkpoint: Path) -> None:
        model = Model(checkpoint, VisionSpec(tap=self.taps[-1], micro_batch=3))
        try:
            together = model.visual(VIDEO)
        except CheckpointError as error:
            pytest.skip(f"refused, as it should be: {error}")
        last = len(together.units) - 1
        alone = model.visual(VIDEO, only=[last]).features
        for name, array in together.features.arrays.items():
            assert np.array_equal(alone.arrays[name][0], array[last])

    def test_tower_and_language_model_are_loaded_apart(self, models: dict[Tap, Model]) -> None:
        for tap, model in models.items():
            tower = {name for name, _ in model.tower._model.named_parameters()}
            decoder = {name for name, _ in model.decoder._model.named_parameters()}
            for weights, at in self.matters.items():
                part = self.loaded_as.get(weights, weights)
                if at == dict.fromkeys(at, False):  # the language model
                    assert not any(part in name for name in tower)
                    assert any(part in name for name in decoder)
                elif at[tap]:
                    assert any(part in name for name in tower)
                    assert not any(part in name for name in decoder)

    def test_the_signature_follows_exactly_the_weights_that_matter(self, tmp_path: Path) -> None:
        folder = self.write(tmp_path)

        def digests() -> dict[Tap, str]:
            family, path = find_family(spec(folder))
            return {
                tap: family.vision(path, spec(folder), VisionSpec(tap=tap))
                .signature(VIDEO.info, VIDEO.indices)
                .digest
                for tap in self.taps
            }

        before = digests()
        for part, at in self.matters.items():
            change_one_weight(folder, part)
            after = digests()
            for tap in self.taps:
                assert (after[tap] != before[tap]) == at[tap], f"{part} at {tap}"
            before = after

    def test_decoder_precision_tap_and_micro_batch_are_in_the_signature(
        self, checkpoint: Path
    ) -> None:
        family, path = find_family(spec(checkpoint))

        def digest(model: ModelSpec, vision: VisionSpec, decoder: str = "one") -> str:
            info = media_info("video", 40, 48, num_frames=4, decoder=decoder)
            return family.vision(path, model, vision).signature(info, range(4)).digest

        tap = self.taps[-1]
        half = spec(checkpoint).model_copy(update={"dtype": "bfloat16"})
        digests = {
            digest(spec(checkpoint), VisionSpec(tap=tap)),
            digest(spec(checkpoint), VisionSpec(tap=tap), decoder="two"),
            digest(half, VisionSpec(tap=tap)),
            digest(spec(checkpoint), VisionSpec(tap=tap, micro_batch=2)),
            *(digest(spec(checkpoint), VisionSpec(tap=other)) for other in self.taps),
        }
        assert len(digests) == 3 + len(self.taps)

    def test_a_tap_that_cannot_be_is_refused_with_the_reason(self, checkpoint: Path) -> None:
        family, path = find_family(spec(checkpoint))
        for tap in {"tower", "projected"} - set(self.taps):
            with pytest.raises(CheckpointError, match=f"vision.tap '{tap}'"):
                family.vision(path, spec(checkpoint), VisionSpec(tap=tap))  # type: ignore[arg-type]

    def test_a_placeholder_in_the_question_is_refused(
        self, checkpoint: Path, models: dict[Tap, Model]
    ) -> None:
        model = models[self.taps[-1]]
        token = self.placeholder
        with pytest.raises(ValueError, match="does the question contain the placeholder"):
            answered(model.decoder, [model.visual(IMAGE)], [f"What does {token} mean?"], SHORT)
        with pytest.raises(ValueError, match="does the question contain the placeholder"):
            model.decoder.check(f"What does {token} mean?")
        model.decoder.check(QUESTION)

    placeholder: ClassVar[str] = "<image>"
    """What the chat template writes for a picture."""

    def test_its_prompts_are_found_to_begin_alike(self, checkpoint: Path) -> None:
        family, path = find_family(spec(checkpoint))
        family.check_prompts(path)

    def test_bfloat16_features_survive_the_way_through_numpy(self, checkpoint: Path) -> None:
        half = spec(checkpoint).model_copy(update={"dtype": "bfloat16"})
        vision = VisionSpec(tap=self.taps[-1])
        family, path = find_family(half)
        side = family.vision(path, half, vision)
        tower = side.load()
        signature = side.signature(VIDEO.info, VIDEO.indices)
        features = tower.encode(tower.preprocess(VIDEO.frames(VIDEO.indices), signature))
        assert {str(array.dtype) for array in features.arrays.values()} == {"bfloat16"}
        units = side.units(VIDEO.info, VIDEO.indices)
        visual = Visual(info=VIDEO.info, units=units, features=features)
        (answer,) = answered(family.decoder(path, half, vision), [visual], [QUESTION], SHORT)
        assert answer.token_ids
