"""The whole model as plain transformers runs it: what answers from stored features must equal."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import AutoModelForImageTextToText

from encodeonce.models.chat import load_processor
from encodeonce.models.checkpoint import device
from encodeonce.models.family import Decoded, Generation, GenerationSpec
from encodeonce.models.generation import generate
from encodeonce.models.spec import ModelSpec


class TransformersReference:
    """The whole model, from pixels, by the processor and ``generate`` alone."""

    def __init__(self, model: Any, processor: Any) -> None:
        self._model = model
        self._processor = processor

    def answer(
        self, media: Sequence[Decoded], question: str, generation: GenerationSpec
    ) -> Generation:
        """Answer a question from decoded frames."""
        start = time.perf_counter()
        images = [Image.fromarray(frame) for one in media for frame in one.frames.pixels_THWC]
        content = [*({"type": "image", "image": image} for image in images)]
        messages = [{"role": "user", "content": [*content, {"type": "text", "text": question}]}]
        inputs = self._processor.apply_chat_template(
            messages,
            tokenize=True,
            add_generation_prompt=True,
            return_dict=True,
            return_tensors="pt",
        ).to(self._model.device, self._model.dtype)
        return generate(
            self._model,
            self._processor.tokenizer,
            inputs,
            generation,
            num_visual_units=len(images),
            prepare_s=time.perf_counter() - start,
        )


def load_reference(folder: Path, model: ModelSpec) -> TransformersReference:
    """Load a whole checkpoint the ordinary way."""
    loaded = AutoModelForImageTextToText.from_pretrained(
        folder,
        dtype=getattr(torch, model.dtype),
        attn_implementation=model.attention,
        local_files_only=True,
    )
    return TransformersReference(loaded.eval().to(device(model)), load_processor(folder))
