"""VILA1.5 inherits the contract, and agrees with its formulas written out once more."""

import json
import shutil
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch.nn import functional as F  # noqa: N812 - as everybody
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, SiglipVisionModel

from encodeonce.models.checkpoint.files import CheckpointError
from encodeonce.models.families.vila import FAMILY
from encodeonce.models.family import find_family
from encodeonce.models.spec import Tap, VisionSpec
from tests.contracts.assembled import Answered, answered, assert_answers_as, fill_tower
from tests.contracts.family import (
    QUESTION,
    VIDEO,
    FamilyContract,
    Model,
    Scene,
    spec,
    told_apart,
)
from tests.fixtures.tiny.parts import text_shape
from tests.fixtures.tiny.vila import SIGLIP, write_tiny_vila


class TestVila(FamilyContract):
    family = "vila"
    matters = told_apart("vision_model.encoder", "mm_projector/", "embed_tokens")

    loaded_as: ClassVar[dict[str, str]] = {
        "vision_model.encoder": "encoder.layers",
        "mm_projector/": "1.layers.",
    }
    write = staticmethod(write_tiny_vila)


def whole_forward(folder: Path, scene: Scene) -> Answered:
    """Return embeddings of, and answer to, QUESTION about a video by VILA's formulas."""
    weights = load_file(folder / "vision_tower" / "model.safetensors")
    siglip = SiglipVisionModel(SIGLIP).eval()
    fill_tower(siglip, weights)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder / "llm")
    llm = LlamaForCausalLM(LlamaConfig(**text_shape(tokenizer), tie_word_embeddings=False)).eval()
    llm.load_state_dict(load_file(folder / "llm" / "model.safetensors"))
    mlp = load_file(folder / "mm_projector" / "model.safetensors")
    embed = llm.get_input_embeddings()
    with torch.inference_mode():
        hidden = siglip(pixels_of(scene), output_hidden_states=True).hidden_states[-2]
        tokens = []
        for number, frame in enumerate(hidden):
            grid = torch.zeros(6, 6, 32)
            grid[:5, :5] = frame.view(5, 5, 32)
            for column in range(0, 6, 2):
                for row in range(0, 6, 2):
                    block = grid[row : row + 2, column : column + 2].reshape(128)
                    block = F.layer_norm(
                        block, (128,), mlp["layers.1.weight"], mlp["layers.1.bias"]
                    )
                    block = F.linear(block, mlp["layers.2.weight"], mlp["layers.2.bias"])
                    block = F.linear(F.gelu(block), mlp["layers.4.weight"], mlp["layers.4.bias"])
                    tokens.append(block)
            text = "\n" if number < len(hidden) - 1 else f"\n{QUESTION} ASSISTANT:"
            tokens.extend(embed(tokenizer(text, return_tensors="pt").input_ids[0]))
        system = (
            "A chat between a curious user and an artificial intelligence assistant. The "
            "assistant gives helpful, detailed, and polite answers to the user's questions. USER: "
        )
        before = tokenizer(system, return_tensors="pt").input_ids[0]
        embeddings = torch.cat([embed(before), torch.stack(tokens)])[None]
        return answered(llm, embeddings)


def pixels_of(scene: Scene) -> torch.Tensor:
    """Resize to 40 x 40 whatever the aspect, then to [-1, 1]."""
    rows = []
    for frame in scene.frames(scene.indices).pixels_THWC:
        image = Image.fromarray(frame).resize((40, 40), Image.Resampling.BICUBIC)
        rows.append((np.asarray(image) / 255 - 0.5) / 0.5)
    return torch.tensor(np.stack(rows).transpose(0, 3, 1, 2), dtype=torch.float32)


@pytest.mark.parametrize("tap", ["tower", "projected"])
def test_embeddings_and_answers_are_those_of_the_formulas(tmp_path: Path, tap: Tap) -> None:
    folder = write_tiny_vila(tmp_path)
    model = Model(folder, VisionSpec(tap=tap))
    assert_answers_as(whole_forward(folder, VIDEO), FAMILY, model, VIDEO)


def test_nine_tokens_of_five_by_five_patches(tmp_path: Path) -> None:
    folder = write_tiny_vila(tmp_path)
    visual = Model(folder, VisionSpec(tap="projected")).visual(VIDEO)
    assert visual.features.arrays["main"].shape == (4, 9, 64)


def test_vila_on_llama_3_is_refused(tmp_path: Path) -> None:
    folder = write_tiny_vila(tmp_path)
    path = folder / "llm" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "vocab_size": 128_256}))
    family, found = find_family(spec(folder))
    with pytest.raises(CheckpointError, match="vicuna_v1"):
        family.vision(found, spec(folder), VisionSpec())


@pytest.mark.parametrize("aspect", ["dynamic", "dynamic_s2"])
def test_nvila_with_scales_is_refused(tmp_path: Path, aspect: str) -> None:
    folder = write_tiny_vila(tmp_path)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "image_aspect_ratio": aspect}))
    family, path = find_family(spec(folder))
    with pytest.raises(CheckpointError, match="NVILA with scales .dynamic_s2. is not handled"):
        family.vision(path, spec(folder), VisionSpec())


def test_the_original_layout_of_llava_is_refused(tmp_path: Path) -> None:
    folder = write_tiny_vila(tmp_path)
    shutil.rmtree(folder / "mm_projector")
    with pytest.raises(CheckpointError, match="not laid out as VILA's checkpoints are.*llava-hf"):
        find_family(spec(folder))
