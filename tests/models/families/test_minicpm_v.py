"""MiniCPM-V-2.6 inherits the contract, and agrees with its released code.

The code of the tower and the resampler is a stand-in of ours.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from safetensors.torch import load_file
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from encodeonce.models.checkpoint.files import CheckpointError
from encodeonce.models.checkpoint.remote_code import PinnedCode
from encodeonce.models.families.minicpm_v import FAMILY, OLD_NAMES
from encodeonce.models.family import find_family
from encodeonce.models.spec import Tap, VisionSpec
from encodeonce.models.vision.adaptive_slices import without_filling
from tests.contracts.assembled import Answered, answered, assert_answers_as
from tests.contracts.family import (
    IMAGE,
    QUESTION,
    SHORT_CLIP,
    VIDEO,
    WIDE,
    FamilyContract,
    Model,
    Scene,
    spec,
)
from tests.fixtures.tiny.minicpm_v import VISION, write_tiny_minicpm_v
from tests.fixtures.tiny.parts import text_shape


class TestMiniCPMV(FamilyContract):
    family = "minicpm_v"
    taps: ClassVar[tuple[Tap, ...]] = ("projected",)
    matters: ClassVar[dict[str, dict[Tap, bool]]] = {
        "vpm": {"projected": True},
        "resampler": {"projected": True},
        "embed_tokens": {"projected": False},
    }
    write = staticmethod(write_tiny_minicpm_v)


def whole_forward(folder: Path, *scenes: Scene) -> Answered:
    """Return embeddings of, and answer to, QUESTION as the released model class computes them.

    All tiles of the prompt are padded to one length and encoded at once; their features are
    scattered over the visual token's embeddings.
    """
    code = PinnedCode(folder, spec(folder), OLD_NAMES)
    vision = code.load("modeling_navit_siglip.SiglipVisionConfig")(**VISION)
    vision._attn_implementation = "eager"
    vpm = code.load("modeling_navit_siglip.SiglipVisionTransformer")(vision)
    vpm.encoder.layers = vpm.encoder.layers[:-1]
    resampler = code.load("resampler.Resampler")(
        num_queries=4, embed_dim=128, num_heads=1, kv_dim=64, adaptive=True
    )
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    shape = {**text_shape(tokenizer), "hidden_size": 128}
    llm = Qwen2ForCausalLM(Qwen2Config(**shape, tie_word_embeddings=False))
    weights = load_file(folder / "model.safetensors")
    for name, part in {"vpm": vpm, "resampler": resampler, "llm": llm}.items():
        part.load_state_dict({key: weights[f"{name}.{key}"] for key in part.state_dict()})
        part.eval()
    tiles, marks = tiles_and_marks(folder, scenes)
    strips = [strip(tile) for tile in tiles]
    sizes = torch.tensor([(tile.shape[1] // 8, tile.shape[2] // 8) for tile in tiles])
    padded = pad_sequence([one.flatten(0, 1).T for one in strips], batch_first=True)
    pixels = padded.permute(0, 2, 1).unflatten(1, (3, 8))
    mask = torch.arange(pixels.shape[-1] // 8) < sizes.prod(dim=1)[:, None]
    text = (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
        + "\n".join([*marks, QUESTION])
        + "<|im_end|>\n<|im_start|>assistant\n"
    )
    ids = tokenizer(text, return_tensors="pt").input_ids
    with torch.inference_mode():
        hidden = vpm(pixels, patch_attention_mask=mask[:, None], tgt_sizes=sizes)
        features = resampler(hidden.last_hidden_state, sizes)
        embeddings = llm.get_input_embeddings()(ids)
        embeddings[ids == tokenizer.convert_tokens_to_ids("<unk>")] = features.flatten(0, 1)
        return answered(llm, embeddings)


def tiles_and_marks(folder: Path, scenes: Sequence[Scene]) -> tuple[list[torch.Tensor], list[str]]:
    """Return all tiles in order, and the prompt's text for each picture and frame."""
    slicing, tokens = FAMILY.preprocessing(folder), "<unk>" * 4
    tiles: list[torch.Tensor] = []
    marks: list[str] = []
    for scene in scenes:
        recipe = slicing.recipe(scene.info, len(scene.indices))
        for stack in slicing.pixels(scene.frames(scene.indices), recipe):
            tiles += [without_filling(tile) for tile in stack]
            columns, rows = recipe["grid"]
            mark = f"<image_id>{len(marks)}</image_id>" if scene.info.kind == "image" else ""
            mark += f"<image>{tokens}</image>"
            for row in range(rows):
                mark += ("\n" if row else "") + f"<slice>{tokens}</slice>" * columns
            marks.append(mark)
    return tiles, marks


def strip(tile: torch.Tensor) -> torch.Tensor:
    """Return the patches of 8 x 8 pixels side by side: (3, 8, patches * 8)."""
    cut = [
        tile[:, top : top + 8, left : left + 8]
        for top in range(0, tile.shape[1], 8)
        for left in range(0, tile.shape[2], 8)
    ]
    return torch.cat(cut, dim=2)


@pytest.mark.parametrize("scenes", [(WIDE,), (VIDEO,), (IMAGE, WIDE, SHORT_CLIP)])
def test_embeddings_and_answers_are_those_of_the_released_forward(
    tmp_path: Path, scenes: tuple[Scene, ...]
) -> None:
    folder = write_tiny_minicpm_v(tmp_path)
    model = Model(folder, VisionSpec(tap="projected"))
    assert_answers_as(whole_forward(folder, *scenes), FAMILY, model, *scenes)


def test_another_version_is_refused(tmp_path: Path) -> None:
    folder = write_tiny_minicpm_v(tmp_path)
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "version": 4.5}))
    family, found = find_family(spec(folder))
    with pytest.raises(CheckpointError, match="version 4.5; only 2.6 is handled"):
        family.vision(found, spec(folder), VisionSpec(tap="projected"))


@pytest.mark.parametrize("mark", ["<slice>", "<unk>", "</image_id>"])
def test_every_mark_is_refused_in_a_question(mark: str) -> None:
    with pytest.raises(ValueError, match=f"does the question contain the placeholder {mark}"):
        FAMILY.check(f"What does {mark} mean?")
