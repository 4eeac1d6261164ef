"""Qwen-VL-Chat inherits the contract, and agrees with a Qwen written out once more.

The code of tower and model is a stand-in of ours.
"""

import json
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from encodeonce.models.checkpoint.files import CheckpointError
from encodeonce.models.checkpoint.remote_code import PinnedCode
from encodeonce.models.families.qwen_vl import FAMILY
from encodeonce.models.family import find_family
from encodeonce.models.language.splicing import counted
from encodeonce.models.spec import Tap, VisionSpec
from tests.contracts.family import (
    IMAGE,
    QUESTION,
    SHORT,
    SHORT_CLIP,
    VIDEO,
    WIDE,
    FamilyContract,
    Model,
    Scene,
    spec,
)
from tests.contracts.logits import NotedLogits, Tokens, assert_close
from tests.fixtures.tiny.qwen_vl_chat import (
    CONFIG,
    IMAGE_START,
    NUM_MERGED,
    write_tiny_qwen_vl_chat,
)


class TestQwenVL(FamilyContract):
    family = "qwen_vl"
    taps: ClassVar[tuple[Tap, ...]] = ("projected",)
    placeholder = "<img>"
    matters: ClassVar[dict[str, dict[Tap, bool]]] = {
        "visual": {"projected": True},
        "wte": {"projected": False},
    }
    loaded_as: ClassVar[dict[str, str]] = {
        "visual": "transformer.resblocks",
        "wte": "embed_tokens",
    }
    write = staticmethod(write_tiny_qwen_vl_chat)


def byte_ids(text: str) -> list[int]:
    """Return the tokens of a text without special ones: bytes, but for "the" and "th"."""
    ids: list[int] = []
    while text:
        known = {"the": NUM_MERGED - 1, "th": NUM_MERGED - 2}
        word = next((word for word in known if text.startswith(word)), "")
        ids += [known[word]] if word else list(text[0].encode())
        text = text[len(word) or 1 :]
    return ids


def prompt_ids(num_images: int) -> list[int]:
    """Return the tokens of QUESTION about some pictures of four tokens, in ChatML."""
    start, end = NUM_MERGED + 1, NUM_MERGED + 2
    ids = [start, *byte_ids("system\nYou are a helpful assistant."), end, *byte_ids("\n")]
    ids += [start, *byte_ids("user\n")]
    for number in range(1, num_images + 1):
        ids += [*byte_ids(f"Picture {number}: "), IMAGE_START, 0, 0, 0, 0, IMAGE_START + 1]
        ids += byte_ids("\n")
    return [*ids, *byte_ids(QUESTION), end, *byte_ids("\n"), start, *byte_ids("assistant\n")]


def pixels_of(scene: Scene) -> torch.Tensor:
    """Resize to 32 x 32 whatever the aspect, then CLIP's mean and deviation."""
    mean = np.array([0.48145466, 0.4578275, 0.40821073])
    std = np.array([0.26862954, 0.26130258, 0.27577711])
    rows = []
    for frame in scene.frames(scene.indices).pixels_THWC:
        image = Image.fromarray(frame).resize((32, 32), Image.Resampling.BICUBIC)
        rows.append(((np.asarray(image) / 255 - mean) / std).transpose(2, 0, 1))
    return torch.tensor(np.stack(rows), dtype=torch.float32)


@pytest.mark.parametrize("scenes", [(WIDE,), (VIDEO,), (IMAGE, WIDE, SHORT_CLIP)])
def test_answers_are_those_of_the_original_forward(
    tmp_path: Path, scenes: tuple[Scene, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    noted = NotedLogits(monkeypatch)
    folder = write_tiny_qwen_vl_chat(tmp_path)
    code = PinnedCode(folder, spec(folder))
    original = code.load("modeling_qwen.QWenLMHeadModel")(CONFIG).eval()
    original.load_state_dict(load_file(folder / "model.safetensors"))
    pixels = torch.cat([pixels_of(scene) for scene in scenes])
    ids, steps = prompt_ids(len(pixels)), []
    with torch.inference_mode():
        for _ in range(SHORT.max_new_tokens):
            steps.append(original(torch.tensor([ids]), pixels)[0, -1])
            ids.append(int(steps[-1].argmax()))
    answer = Model(folder, VisionSpec(tap="projected")).cached(*scenes)
    assert answer.num_prompt_tokens == len(prompt_ids(len(pixels)))
    assert_close(noted.of(answer), Tokens(ids[-len(steps) :], torch.stack(steps)))


def test_text_is_cut_and_merged_as_by_tiktoken(tmp_path: Path) -> None:
    tokenizer = FAMILY.tokenizer(write_tiny_qwen_vl_chat(tmp_path))
    text = "the thé others'll\n\n 12 <img>the</img><|im_end|>"
    marks = {"<img>": IMAGE_START, "</img>": IMAGE_START + 1, "<|im_end|>": NUM_MERGED + 2}
    expected = [*byte_ids("the thé others'll\n\n 12 "), marks["<img>"], *byte_ids("the")]
    assert tokenizer(text).input_ids == [*expected, marks["</img>"], marks["<|im_end|>"]]
    assert tokenizer("e\N{COMBINING ACUTE ACCENT}").input_ids == list("é".encode())
    assert tokenizer.decode(byte_ids("the thé")) == "the thé"
    assert len(tokenizer) == CONFIG["vocab_size"]


def test_a_prompt_longer_than_the_model_was_trained_on_is_refused(tmp_path: Path) -> None:
    model = Model(write_tiny_qwen_vl_chat(tmp_path), VisionSpec(tap="projected"))
    media = [model.decoder._project(model.visual(IMAGE))]
    tokenizer = model.decoder._tokenizer
    length = len(counted(FAMILY.prompt(tokenizer, media, "")))
    FAMILY.prompt(tokenizer, media, "x" * (512 - length))
    with pytest.raises(ValueError, match="a prompt of 513 tokens: beyond 512 .*frames.num_frames"):
        FAMILY.prompt(tokenizer, media, "x" * (513 - length))


@pytest.mark.parametrize(
    ("file", "name", "value"),
    [
        ("config.json", "rotary_pct", 0.5),
        ("config.json", "no_bias", False),
        ("generation_config.json", "chat_format", "raw"),
    ],
)
def test_what_is_not_qwen_vl_chat_is_refused(
    tmp_path: Path, file: str, name: str, value: object
) -> None:
    folder = write_tiny_qwen_vl_chat(tmp_path)
    content = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps({**content, name: value}))
    family, found = find_family(spec(folder))
    with pytest.raises(CheckpointError, match=f"{name}.* {value!r} is not Qwen-VL-Chat's"):
        family.vision(found, spec(folder), VisionSpec(tap="projected"))


def test_a_qwen_that_cannot_see_is_no_qwen_vl(tmp_path: Path) -> None:
    folder = write_tiny_qwen_vl_chat(tmp_path)
    config = {name: value for name, value in CONFIG.items() if name != "visual"}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="'qwen', which no family handles"):
        find_family(spec(folder))
