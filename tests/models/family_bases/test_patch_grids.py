"""The Qwen-VL line against a plain ``generate`` with inputs assembled here by hand."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer

from encodeonce.models.spec import VisionSpec
from encodeonce.models.vision.preprocessing import load_image_processor
from tests.contracts.family import QUESTION, SHORT, Model, Scene
from tests.contracts.logits import NotedLogits, Tokens, assert_close, generated
from tests.fixtures.tiny.qwen_vl import (
    END,
    IMAGE,
    START,
    VIDEO,
    write_tiny_qwen2_5_vl,
    write_tiny_qwen2_vl,
    write_tiny_qwen3_vl,
)

WRITE = [write_tiny_qwen2_vl, write_tiny_qwen2_5_vl, write_tiny_qwen3_vl]


def answer(model: Model, placeholders: str, **inputs: torch.Tensor) -> Tokens:
    """Return the whole model's answer, from a prompt made here."""
    whole: Any = model.family.model_class.from_pretrained(model.folder)  # type: ignore[attr-defined]
    tokenizer = AutoTokenizer.from_pretrained(model.folder)
    prompt = f"<s>user: {placeholders}{QUESTION}assistant: "
    ids = tokenizer(prompt, add_special_tokens=False, return_tensors="pt").input_ids
    image, video = tokenizer.convert_tokens_to_ids([IMAGE, VIDEO])
    return generated(
        whole,
        SHORT,
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        mm_token_type_ids=(ids == image).long() + 2 * (ids == video).long(),
        **inputs,
    )


@pytest.mark.parametrize("write", WRITE)
def test_pictures(
    tmp_path: Path, write: Callable[[Path], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    logits = NotedLogits(monkeypatch)
    model = Model(write(tmp_path), VisionSpec(tap="projected"))
    scenes = [Scene("image", size=(88, 40)), Scene("image", size=(40, 48), seed=1)]
    pictures = [scene.frames((0,)).pixels_THWC[0] for scene in scenes]
    processed = load_image_processor(model.folder)(images=pictures, return_tensors="pt")
    grids = processed["image_grid_thw"]
    assert grids[0, 2] > grids[0, 1]  # wide, so that rows and columns cannot be mistaken
    tokens = [START + IMAGE * int(grid.prod() // 4) + END for grid in grids]
    by_hand = answer(model, "".join(tokens), **processed)
    assert torch.equal(logits.of(model.plain(*scenes)).logits_TV, by_hand.logits_TV)
    assert_close(logits.of(model.cached(*scenes)), by_hand)


@pytest.mark.parametrize("write", WRITE[:2])
def test_a_video_of_an_odd_number_of_frames(
    tmp_path: Path, write: Callable[[Path], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    logits = NotedLogits(monkeypatch)
    model = Model(write(tmp_path), VisionSpec(tap="projected"))
    scene = Scene("video", (0, 2, 4, 6, 8), size=(88, 40))  # one frame a second
    frames = scene.frames(scene.indices).pixels_THWC
    size = {"shortest_edge": 8 * 8, "longest_edge": 24 * 24}  # as the tiny checkpoints' videos
    processor = load_image_processor(model.folder)
    each = [
        processor(images=[frame], size=size, return_tensors="pt") for frame in (*frames, frames[-1])
    ]
    # A picture's patches hold it twice, (patches, 3, 2, 4 * 4): take one half of each frame.
    halves = [one["pixel_values"].reshape(-1, 3, 2, 16) for one in each]
    pairs = [
        torch.stack((a[:, :, 0], b[:, :, 1]), dim=2).flatten(1)
        for a, b in zip(halves[::2], halves[1::2], strict=True)
    ]
    _, rows, columns = each[0]["image_grid_thw"][0].tolist()
    inputs = {
        "pixel_values_videos": torch.cat(pairs),
        "video_grid_thw": torch.tensor([[3, rows, columns]]),
    }
    if write is write_tiny_qwen2_5_vl:
        inputs["second_per_grid_ts"] = torch.tensor([2.0])
    tokens = START + VIDEO * (3 * rows * columns // 4) + END
    by_hand = answer(model, tokens, **inputs)
    assert torch.equal(logits.of(model.plain(scene)).logits_TV, by_hand.logits_TV)
    assert_close(logits.of(model.cached(scene)), by_hand)
