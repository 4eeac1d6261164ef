"""Measure the demo model on the demo benchmark, with plain transformers.

Run as `python -m encodeonce.models.demo.evaluate`. It uses none of encodeonce's own decoding,
caching or generation: what it prints is what the harness has to reproduce.
"""

import argparse
import json
import logging
import string
from collections import Counter
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from PIL import Image
from transformers import AutoProcessor, LlavaForConditionalGeneration, ProcessorMixin

from encodeonce.datasets.prompts import format_question_in_form

logger = logging.getLogger(__name__)

NUM_FRAMES = 8
CHECKPOINT = Path(__file__).parent / "checkpoint"


def read_frames(path: Path) -> list[Image.Image]:
    """Decode a clip and returns `NUM_FRAMES` frames spread evenly from the first to the last."""
    with av.open(str(path)) as container:
        frames = [frame.to_image() for frame in container.decode(video=0)]
    return [frames[i] for i in np.linspace(0, len(frames) - 1, NUM_FRAMES).round().astype(int)]


@torch.inference_mode()
def answer(
    model: Any,
    processor: ProcessorMixin,
    frames: list[Image.Image],
    row: dict[str, Any],
) -> str:
    """Return the model's greedy answer to a question about frames."""
    content: list[dict[str, str]] = [{"type": "image"} for _ in frames]
    prompt = format_question_in_form(row["question"], row["choices"], row["tags"]["form"])
    content.append({"type": "text", "text": prompt})
    messages: list[Any] = [{"role": "user", "content": content}]
    text = processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    # The chat template has written the beginning-of-text token already.
    inputs = processor(
        images=frames, text=text, return_tensors="pt", text_kwargs={"add_special_tokens": False}
    )
    generated = model.generate(**inputs)
    new_ids = generated[0, inputs["input_ids"].shape[1] :]
    return str(processor.decode(new_ids, skip_special_tokens=True)).strip()


def right_answer(row: dict[str, Any]) -> str:
    """Return what is asked for: the right option's letter, its text, or the free answer."""
    answer: str = row["answer"]
    if row["tags"]["form"] == "text":
        return str(row["choices"][string.ascii_uppercase.index(answer)])
    return answer


def evaluate(checkpoint: Path, questions: Path, split: str) -> dict[tuple[str, str], list[bool]]:
    """Return for each (kind, form) of question which answers were right."""
    model = LlavaForConditionalGeneration.from_pretrained(checkpoint, dtype=torch.float32).eval()
    processor = AutoProcessor.from_pretrained(checkpoint)
    rows = [json.loads(line) for line in questions.read_text(encoding="utf-8").splitlines()]
    marks: dict[tuple[str, str], list[bool]] = {}
    for row in rows:
        tags = row["tags"]
        if tags["split"] != split:
            continue
        given = answer(model, processor, read_frames(questions.parent / row["video"]), row)
        is_right = given == right_answer(row)
        if not is_right:
            logger.info("%s: %r instead of %r", row["id"], given, right_answer(row))
        marks.setdefault((tags["kind"], tags["form"]), []).append(is_right)
    return marks


def main() -> None:
    """Read the command line and logs the accuracy by kind and form of question."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, default=CHECKPOINT)
    parser.add_argument("--questions", type=Path, required=True, help="path of questions.jsonl")
    parser.add_argument("--split", choices=("train", "heldout"), default="heldout")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    marks = evaluate(options.checkpoint, options.questions, options.split)
    right, asked = Counter[str](), Counter[str]()
    for (kind, form), results in sorted(marks.items()):
        for name in (f"{kind} {form}", kind, "all"):
            right[name] += sum(results)
            asked[name] += len(results)
    for name, total in asked.items():
        logger.info("%-14s %3d of %3d  %.3f", name, right[name], total, right[name] / total)


if __name__ == "__main__":
    main()
