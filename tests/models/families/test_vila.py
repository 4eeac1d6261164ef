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
from encodeonce.models.language.splicing import spliced
from encodeonce.models.spec import Tap, VisionSpec
from tests.contracts.family import QUESTION, SHORT, VIDEO, FamilyContract, Model, Scene, spec
from tests.contracts.logits import NotedLogits, Tokens, assert_close, generated
from tests.fixtures.tiny.parts import text_shape
from tests.fixtures.tiny.vila import SIGLIP, write_tiny_vila


class TestVila(FamilyContract):
    family = "vila"
    matters: ClassVar[dict[str, dict[Tap, bool]]] = {
        "vision_model.encoder": {"tower": True, "projected": True},
        "mm_projector/": {"tower": False, "projected": True},
        "embed_tokens": {"tower": False, "projected": False},
    }

    loaded_as: ClassVar[dict[str, str]] = {
        "vision_model.encoder": "encoder.layers",
        "mm_projector/": "1.layers.",
    }

    @staticmethod
    def write(folder: Path) -> Path:
        return write_tiny_vila(folder)


def whole_forward(folder: Path, scene: Scene) -> tuple[torch.Tensor, Tokens]:
    """Return embeddings of, and answer to, QUESTION about a video by VILA's formulas."""
    weights = load_file(folder / "vision_tower" / "model.safetensors")
    siglip = SiglipVisionModel(SIGLIP).eval()
    prefix = "" if next(iter(siglip.state_dict())).startswith("vision_model.") else "vision_model."
    for name, tensor in siglip.state_dict().items():
        if tensor.is_floating_point():
            tensor.copy_(weights[prefix + name])
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
        mask = torch.ones(embeddings.shape[:2], dtype=torch.long)
        answer = generated(llm, SHORT, inputs_embeds=embeddings, attention_mask=mask)
    return embeddings, answer


def pixels_of(scene: Scene) -> torch.Tensor:
    """Resize to 40 x 40 whatever the aspect, then to [-1, 1]."""
    rows = []
    for frame in scene.frames(scene.indices).pixels_THWC:
        image = Image.fromarray(frame).resize((40, 40), Image.Resampling.BICUBIC)
        rows.append((np.asarray(image) / 255 - 0.5) / 0.5)
    return torch.tensor(np.stack(rows).transpose(0, 3, 1, 2), dtype=torch.float32)


@pytest.mark.parametrize("tap", ["tower", "projected"])
def test_embeddings_and_answers_are_those_of_the_formulas(
    tmp_path: Path, tap: Tap, monkeypatch: pytest.MonkeyPatch
) -> None:
    logits = NotedLogits(monkeypatch)
    folder = write_tiny_vila(tmp_path)
    model = Model(folder, VisionSpec(tap=tap))
    embeddings, answer = whole_forward(folder, VIDEO)
    media = [model.decoder._project(model.visual(VIDEO))]
    prompt = FAMILY.prompt(model.decoder._tokenizer, media, QUESTION)
    ours = spliced(model.decoder._model, prompt)["inputs_embeds"]
    assert ours.shape == embeddings.shape
    assert torch.allclose(ours, embeddings, rtol=0, atol=1e-5)
    assert_close(logits.of(model.cached(VIDEO)), answer)


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
