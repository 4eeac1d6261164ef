"""LLaVA: features taken apart from the language model, and put back in, bit for bit."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from encodeonce.cache_store.features import Features
from encodeonce.datasets.info import MediaInfo
from encodeonce.datasets.media import Frames
from encodeonce.models.checkpoint import CheckpointError
from encodeonce.models.family import GenerationSpec, find_family
from encodeonce.models.spec import ModelSpec, Tap, VisionSpec
from tests.tiny_models import write_tiny_llava

QUESTION = "What is shown?"
SHORT = GenerationSpec(max_new_tokens=6)


@pytest.fixture(scope="module", params=["clip", "siglip"])
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_llava(tmp_path_factory.mktemp(request.param), tower=request.param)


def spec(folder: Path) -> ModelSpec:
    return ModelSpec(path=str(folder), dtype="float32", device="cpu")


def video(num_frames: int, seed: int = 0) -> Frames:
    pixels = np.random.default_rng(seed).integers(0, 256, (num_frames, 48, 40, 3), dtype=np.uint8)
    return Frames(pixels_THWC=pixels, timestamps_s=tuple(float(n) for n in range(num_frames)))


def info(decoder: str = "a decoder") -> MediaInfo:
    return MediaInfo(
        kind="video",
        width=40,
        height=48,
        codec="h264",
        timestamps_s=(0.0, 1.0),
        fps=1.0,
        backend="pyav",
        decoder=decoder,
        index=None,
    )


def encode(folder: Path, frames: Frames, vision: VisionSpec) -> Features:
    family, path = find_family(spec(folder))
    tower = family.vision(path, spec(folder), vision).load()
    return tower.encode(tower.preprocess(frames))


@pytest.mark.parametrize("tap", ["tower", "projected"])
@pytest.mark.parametrize("num_frames", [1, 4])
def test_spliced_features_give_the_logits_of_the_plain_model(
    checkpoint: Path, tap: Tap, num_frames: int
) -> None:
    vision = VisionSpec(tap=tap)
    family, path = find_family(spec(checkpoint))
    features = encode(checkpoint, video(num_frames), vision)
    cached = family.decoder(path, spec(checkpoint), vision).answer([features], QUESTION, SHORT)
    plain = family.reference(path, spec(checkpoint)).answer([video(num_frames)], QUESTION, SHORT)
    assert cached.token_ids == plain.token_ids
    assert cached.logits_sha256 == plain.logits_sha256
    assert cached.num_prompt_tokens == plain.num_prompt_tokens
    assert cached.num_visual_units == num_frames


def test_several_media_are_read_in_order(checkpoint: Path) -> None:
    vision = VisionSpec()
    family, path = find_family(spec(checkpoint))
    first, second = video(2, seed=1), video(3, seed=2)
    features = [encode(checkpoint, media, vision) for media in (first, second)]
    decoder = family.decoder(path, spec(checkpoint), vision)
    plain = family.reference(path, spec(checkpoint)).answer([first, second], QUESTION, SHORT)
    assert decoder.answer(features, QUESTION, SHORT).logits_sha256 == plain.logits_sha256
    swapped = decoder.answer(features[::-1], QUESTION, SHORT)
    assert swapped.logits_sha256 != plain.logits_sha256


@pytest.mark.parametrize("micro_batch", [1, 4])
def test_features_do_not_depend_on_neighbours_or_order(checkpoint: Path, micro_batch: int) -> None:
    vision = VisionSpec(micro_batch=micro_batch)
    frames = video(5)
    together = encode(checkpoint, frames, vision).arrays["main"]
    order = [3, 0, 4]
    some = Frames(pixels_THWC=frames.pixels_THWC[order], timestamps_s=(0.0, 1.0, 2.0))
    assert np.array_equal(encode(checkpoint, some, vision).arrays["main"], together[order])


def test_the_tower_is_loaded_without_the_language_model_and_the_other_way_round(
    checkpoint: Path,
) -> None:
    family, path = find_family(spec(checkpoint))
    tower = family.vision(path, spec(checkpoint), VisionSpec()).load()
    decoder = family.decoder(path, spec(checkpoint), VisionSpec())
    names = {
        "tower": {name for name, _ in tower._model.named_parameters()},  # type: ignore[attr-defined]
        "decoder": {name for name, _ in decoder._model.named_parameters()},  # type: ignore[attr-defined]
    }
    assert all(name.startswith("model.vision_tower.") for name in names["tower"])
    assert not any("vision_tower" in name for name in names["decoder"])
    assert any(name.startswith("model.language_model.") for name in names["decoder"])


def change_one_weight(folder: Path, part: str) -> None:
    path = folder / "model.safetensors"
    weights = load_file(path)
    name = next(name for name in sorted(weights) if part in name and weights[name].dim() == 2)
    weights[name] = weights[name].clone()
    weights[name][0, 0] += 1e-6
    save_file(weights, path, metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("tap", "part", "changes"),
    [
        ("tower", "vision_tower", True),
        ("tower", "multi_modal_projector", False),
        ("tower", "language_model", False),
        ("projected", "vision_tower", True),
        ("projected", "multi_modal_projector", True),
        ("projected", "language_model", False),
    ],
)
def test_the_signature_follows_exactly_the_weights_that_matter(
    tmp_path: Path, tap: Tap, part: str, changes: bool
) -> None:
    folder = write_tiny_llava(tmp_path)

    def digest() -> str:
        family, path = find_family(spec(folder))
        vision = family.vision(path, spec(folder), VisionSpec(tap=tap))
        return vision.signature(info()).digest

    before = digest()
    change_one_weight(folder, part)
    assert (digest() != before) == changes


def test_decoder_precision_and_micro_batch_are_in_the_signature(checkpoint: Path) -> None:
    family, path = find_family(spec(checkpoint))

    def digest(model: ModelSpec, vision: VisionSpec, decoder: str) -> str:
        return family.vision(path, model, vision).signature(info(decoder)).digest

    half = spec(checkpoint).model_copy(update={"dtype": "bfloat16"})
    digests = {
        digest(spec(checkpoint), VisionSpec(), "one"),
        digest(spec(checkpoint), VisionSpec(), "two"),
        digest(half, VisionSpec(), "one"),
        digest(spec(checkpoint), VisionSpec(micro_batch=2), "one"),
        digest(spec(checkpoint), VisionSpec(tap="projected"), "one"),
    }
    assert len(digests) == 5


def test_a_placeholder_in_the_question_is_refused(checkpoint: Path) -> None:
    family, path = find_family(spec(checkpoint))
    features = encode(checkpoint, video(1), VisionSpec())
    decoder = family.decoder(path, spec(checkpoint), VisionSpec())
    with pytest.raises(ValueError, match="does the question contain the placeholder"):
        decoder.answer([features], "What does <image> mean?", SHORT)


def test_a_checkpoint_that_lacks_weights_is_refused(tmp_path: Path) -> None:
    folder = write_tiny_llava(tmp_path)
    path = folder / "model.safetensors"
    weights = load_file(path)
    del weights[next(name for name in sorted(weights) if "vision_tower" in name)]
    save_file(weights, path, metadata={"format": "pt"})
    family, found = find_family(spec(folder))
    with pytest.raises(CheckpointError, match="lacks 1 weights"):
        family.vision(found, spec(folder), VisionSpec()).load()


def test_an_unknown_architecture_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    folder = write_tiny_llava(tmp_path)
    config = folder / "config.json"
    config.write_text(config.read_text().replace('"llava"', '"paligemma"'))
    with pytest.raises(CheckpointError, match=r"'paligemma', which no family handles.*llava"):
        find_family(spec(folder))


def test_pickled_weights_are_not_read(tmp_path: Path) -> None:
    folder = write_tiny_llava(tmp_path)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="Pickled weights"):
        find_family(spec(folder))


def test_bfloat16_features_survive_the_way_through_numpy(checkpoint: Path) -> None:
    model = spec(checkpoint).model_copy(update={"dtype": "bfloat16"})
    family, path = find_family(model)
    tower = family.vision(path, model, VisionSpec()).load()
    features = tower.encode(tower.preprocess(video(2)))
    assert str(features.arrays["main"].dtype) == "bfloat16"
    decoder = family.decoder(path, model, VisionSpec())
    assert decoder.answer([features], QUESTION, SHORT).token_ids
