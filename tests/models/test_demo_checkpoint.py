"""The committed demo model loads with plain transformers and really answers."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoProcessor, LlavaForConditionalGeneration

import encodeonce.datasets.prompts as prompts
from encodeonce.models.demo.evaluate import CHECKPOINT, answer, read_frames, right_answer

DEMO = Path(prompts.__file__).parent / "demo"
MAX_BYTES = 12_000_000
NUM_QUESTIONS, MIN_RIGHT = 18, 11


@pytest.fixture(scope="module")
def model() -> LlavaForConditionalGeneration:
    return LlavaForConditionalGeneration.from_pretrained(CHECKPOINT, dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def processor() -> Any:
    return AutoProcessor.from_pretrained(CHECKPOINT)


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    lines = (DEMO / "questions.jsonl").read_text(encoding="utf-8").splitlines()
    heldout = [row for row in map(json.loads, lines) if row["tags"]["split"] == "heldout"]
    return heldout[:NUM_QUESTIONS]


def test_checkpoint_stays_small() -> None:
    assert sum(path.stat().st_size for path in CHECKPOINT.iterdir()) <= MAX_BYTES


def test_a_clip_is_at_least_256_visual_tokens(processor: Any, rows: list[dict[str, Any]]) -> None:
    frames = read_frames(DEMO / rows[0]["video"])
    inputs = processor(images=frames, text="<image>" * len(frames), return_tensors="pt")
    assert (inputs["input_ids"] == processor.image_token_id).sum() >= 256


def test_the_visual_prefix_does_not_depend_on_the_question(processor: Any) -> None:
    def lay_out(question: str) -> str:
        content = [{"type": "text", "text": question}, {"type": "image"}, {"type": "image"}]
        chat = [{"role": "user", "content": content}]
        return str(processor.apply_chat_template(chat, add_generation_prompt=True))

    first, second = (lay_out(question).rsplit("<image>", 1) for question in ("One?", "Two?"))
    assert first[0] == second[0]
    assert "One?" in first[1]


def test_any_text_survives_the_tokenizer(processor: Any) -> None:
    text = "Ünïcode, 日本語 and\ttabs 1234"
    ids = processor.tokenizer.encode(text, add_special_tokens=False)
    assert processor.tokenizer.decode(ids) == text


def test_heldout_questions_are_answered(
    model: LlavaForConditionalGeneration, processor: Any, rows: list[dict[str, Any]]
) -> None:
    right = [
        answer(model, processor, read_frames(DEMO / row["video"]), row) == right_answer(row)
        for row in rows
    ]
    assert sum(right) >= MIN_RIGHT, f"only {sum(right)} of {len(right)} answers are right"
