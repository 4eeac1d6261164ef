"""NVILA-Lite inherits the contract, and agrees with its formulas written out once more."""

import json
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch.nn import functional as F  # noqa: N812 - as everybody
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM, SiglipVisionModel

from encodeonce.models.checkpoint.files import CheckpointError
from encodeonce.models.families.nvila_lite import FAMILY
from encodeonce.models.family import find_family
from encodeonce.models.spec import Tap, VisionSpec
from tests.contracts.assembled import Answered, answered, assert_answers_as, fill_tower
from tests.contracts.family import (
    IMAGE,
    QUESTION,
    VIDEO,
    WIDE,
    FamilyContract,
    Model,
    Scene,
    spec,
    told_apart,
)
from tests.fixtures.tiny.nvila_lite import write_tiny_nvila_lite
from tests.fixtures.tiny.parts import text_shape
from tests.fixtures.tiny.vila import SIGLIP


class TestNvilaLite(FamilyContract):
    family = "nvila_lite"
    matters = told_apart("vision_model.encoder", "mm_projector/", "embed_tokens")

    loaded_as: ClassVar[dict[str, str]] = {
        "vision_model.encoder": "encoder.layers",
        "mm_projector/": "1.layers.",
    }
    write = staticmethod(write_tiny_nvila_lite)


def whole_forward(folder: Path, *scenes: Scene) -> Answered:
    """Return embeddings of, and answer to, QUESTION by VILA's formulas."""
    weights = load_file(folder / "vision_tower" / "model.safetensors")
    siglip = SiglipVisionModel(SIGLIP).eval()
    fill_tower(siglip, weights)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder / "llm")
    llm = Qwen2ForCausalLM(Qwen2Config(**text_shape(tokenizer), tie_word_embeddings=False)).eval()
    llm.load_state_dict(load_file(folder / "llm" / "model.safetensors"))
    mlp = load_file(folder / "mm_projector" / "model.safetensors")
    alone = len(scenes) == 1 and scenes[0].info.kind == "image"
    between = "\n" if alone else ""

    def embedded(text: str) -> torch.Tensor:
        ids = tokenizer(text, return_tensors="pt").input_ids[0].long()
        return llm.get_input_embeddings()(ids)

    with torch.inference_mode():
        rows = [
            embedded(
                "<|im_start|>system\nYou are a helpful assistant<|im_end|>\n<|im_start|>user\n"
            )
        ]
        for tile in tiles_of(scenes, alone):
            hidden = siglip(tile[None], output_hidden_states=True).hidden_states[-2][0]
            grid = torch.zeros(6, 6, 32)
            grid[:5, :5] = hidden.view(5, 5, 32)
            for row in (0, 3):
                for column in (0, 3):
                    block = grid[row : row + 3, column : column + 3].reshape(1, 288)
                    rows.append(projected(block, mlp))
            rows.append(embedded("\n" + between))
        rows.append(embedded(f"{QUESTION}<|im_end|>\n<|im_start|>assistant\n"))
        embeddings = torch.cat(rows)[None]
        return answered(llm, embeddings)


def projected(block: torch.Tensor, mlp: dict[str, torch.Tensor]) -> torch.Tensor:
    """Norm, linear, GELU, norm, linear, GELU, linear."""

    def of(number: int) -> tuple[torch.Tensor, torch.Tensor]:
        return mlp[f"layers.{number}.weight"], mlp[f"layers.{number}.bias"]

    inner = F.gelu(F.linear(F.layer_norm(block, (288,), *of(1)), *of(2)))
    return F.linear(F.gelu(F.linear(F.layer_norm(inner, (96,), *of(4)), *of(5))), *of(7))


def tiles_of(scenes: tuple[Scene, ...], alone: bool) -> list[torch.Tensor]:
    """WIDE, 88 x 40, alone: two tiles across and the whole; everything else whole."""
    tiles = []
    for scene in scenes:
        for frame in scene.frames(scene.indices).pixels_THWC:
            image = Image.fromarray(frame)
            if alone:
                across = image.resize((80, 40), Image.Resampling.BICUBIC)
                tiles += [across.crop((0, 0, 40, 40)), across.crop((40, 0, 80, 40))]
            tiles.append(image.resize((40, 40), Image.Resampling.BICUBIC))
    arrays = [(np.asarray(tile) / 255 - 0.5) / 0.5 for tile in tiles]
    return [torch.tensor(array.transpose(2, 0, 1), dtype=torch.float32) for array in arrays]


@pytest.mark.parametrize("tap", ["tower", "projected"])
@pytest.mark.parametrize("scenes", [(WIDE,), (VIDEO,), (IMAGE, WIDE, VIDEO)])
def test_embeddings_and_answers_are_those_of_the_formulas(
    tmp_path: Path, scenes: tuple[Scene, ...], tap: Tap
) -> None:
    folder = write_tiny_nvila_lite(tmp_path)
    model = Model(folder, VisionSpec(tap=tap))
    assert_answers_as(whole_forward(folder, *scenes), FAMILY, model, *scenes)


def test_three_tiles_of_a_wide_picture_and_one_of_a_frame(tmp_path: Path) -> None:
    model = Model(write_tiny_nvila_lite(tmp_path), VisionSpec(tap="projected"))
    assert model.visual(WIDE).features.arrays["main"].shape == (1, 3, 4, 64)
    assert model.visual(VIDEO).features.arrays["main"].shape == (4, 1, 4, 64)


@pytest.mark.parametrize(
    ("name", "value"), [("image_aspect_ratio", "resize"), ("video_max_tiles", 4)]
)
def test_what_is_not_nvila_lite_is_refused(tmp_path: Path, name: str, value: object) -> None:
    folder = write_tiny_nvila_lite(tmp_path)
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), name: value}))
    family, found = find_family(spec(folder))
    with pytest.raises(CheckpointError, match=f"{name} {value!r} is not NVILA-Lite's"):
        family.vision(found, spec(folder), VisionSpec())
