"""LongVA inherits the contract, and agrees with its formulas written out once more."""

import math
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch.nn import functional as F  # noqa: N812 - as everybody
from transformers import CLIPVisionModel, PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from encodeonce.models.families.longva import FAMILY, _pinpoints, best_fit
from encodeonce.models.spec import Tap, VisionSpec
from tests.contracts.assembled import Answered, answered, assert_answers_as, fill_tower
from tests.contracts.family import QUESTION, VIDEO, FamilyContract, Model, Scene, told_apart
from tests.fixtures.tiny.longva import CLIP, write_tiny_longva
from tests.fixtures.tiny.parts import text_shape


class TestLongVA(FamilyContract):
    family = "longva"
    matters = told_apart("vision_tower", "mm_projector", "embed_tokens")

    loaded_as: ClassVar[dict[str, str]] = {
        "vision_tower": "encoder.layers",
        "mm_projector": "1.layers.",
    }
    write = staticmethod(write_tiny_longva)


def whole_forward(folder: Path, scene: Scene) -> Answered:
    """Return embeddings of, and answer to, QUESTION about a video by LongVA's formulas."""
    weights = load_file(folder / "model.safetensors")
    tower = "model.vision_tower.vision_tower."
    clip = CLIPVisionModel(CLIP).eval()
    fill_tower(clip, {name.removeprefix(tower): weights[name] for name in weights})
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    llm = Qwen2ForCausalLM(Qwen2Config(**text_shape(tokenizer), tie_word_embeddings=False)).eval()
    llm.load_state_dict({name: weights[name] for name in llm.state_dict()})
    projector = [
        weights[f"model.mm_projector.{name}"]
        for name in ("0.weight", "0.bias", "2.weight", "2.bias")
    ]
    with torch.inference_mode():
        hidden = clip(pixels_of(scene), output_hidden_states=True).hidden_states[-2][:, 1:]
        hidden = F.linear(F.gelu(F.linear(hidden, *projector[:2])), *projector[2:])
        frames, patches, width = hidden.shape
        side = math.isqrt(patches)
        square = hidden.view(frames, side // 2, 2, side // 2, 2, width)
        pooled = square.mean(dim=(2, 4)).reshape(-1, width)
        before = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
        after = f"\n{QUESTION}<|im_end|>\n<|im_start|>assistant\n"
        ids = [tokenizer(text, return_tensors="pt").input_ids[0] for text in (before, after)]
        embed = llm.get_input_embeddings()
        embeddings = torch.cat([embed(ids[0]), pooled, embed(ids[1])])[None]
        return answered(llm, embeddings)


def pixels_of(scene: Scene) -> torch.Tensor:
    """Shortest edge to 32 (bicubic), centre crop, CLIP's mean and deviation."""
    mean = np.array([0.48145466, 0.4578275, 0.40821073])
    std = np.array([0.26862954, 0.26130258, 0.27577711])
    rows = []
    for frame in scene.frames(scene.indices).pixels_THWC:
        image = Image.fromarray(frame)
        scale = 32 / min(image.size)
        image = image.resize(
            (int(image.width * scale), int(image.height * scale)), Image.Resampling.BICUBIC
        )
        left, top = (image.width - 32) // 2, (image.height - 32) // 2
        crop = np.asarray(image.crop((left, top, left + 32, top + 32)))
        rows.append(((crop / 255 - mean) / std).transpose(2, 0, 1))
    return torch.tensor(np.stack(rows), dtype=torch.float32)


@pytest.mark.parametrize("tap", ["tower", "projected"])
def test_embeddings_and_answers_are_those_of_the_formulas(tmp_path: Path, tap: Tap) -> None:
    folder = write_tiny_longva(tmp_path)
    model = Model(folder, VisionSpec(tap=tap))
    assert_answers_as(whole_forward(folder, VIDEO), FAMILY, model, VIDEO)


def test_a_frame_of_sixteen_patches_is_four_tokens(tmp_path: Path) -> None:
    folder = write_tiny_longva(tmp_path)
    features = Model(folder, VisionSpec(tap="projected")).visual(VIDEO).features
    assert features.arrays["main"].shape == (4, 1, 4, 64)  # 16 patches a frame, averaged to 4


def test_a_picture_is_a_short_video_of_its_tiles(tmp_path: Path) -> None:
    folder = write_tiny_longva(tmp_path)
    visual = Model(folder, VisionSpec()).visual(Scene("image", size=(88, 40)))
    assert visual.features.arrays["main"].shape == (1, 2, 16, 64)  # 64 x 32 pixels: two tiles


def test_the_size_that_keeps_most_and_wastes_least_is_chosen() -> None:
    allowed = [(336, 672), (672, 336), (672, 672), (1008, 336)]
    assert best_fit((1000, 300), allowed) == (1008, 336)
    assert best_fit((300, 600), allowed) == (336, 672)
    assert best_fit((700, 700), allowed) == (672, 672)


def test_pinpoints_are_read_in_every_spelling() -> None:
    assert _pinpoints("[[336, 672]]", 336) == ((336, 672),)
    assert _pinpoints([[336, 672]], 336) == ((336, 672),)
    assert _pinpoints("(1x1),...,(2x2)", 336) == ((336, 336), (336, 672), (672, 336), (672, 672))
