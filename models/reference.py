"""The whole model as plain transformers runs it: what answers from stored features must equal."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import AutoModelForImageTextToText

from encodeonce.models.chat import load_processor
from encodeonce.models.checkpoint import device
from encodeonce.models.family import Decoded
from encodeonce.models.plain import PlainReference
from encodeonce.models.spec import ModelSpec


class TransformersReference(PlainReference):
    """The whole model, from pixels, by the processor and ``generate`` alone."""

    def __init__(self, model: Any, processor: Any) -> None:
        super().__init__(model, processor.tokenizer)
        self._processor = processor

    def inputs(self, media: Sequence[Decoded], question: str) -> dict[str, Any]:
        """Return what the processor makes of a prompt."""
        images = [Image.fromarray(frame) for one in media for frame in one.frames.pixels_THWC]
        content = [*({"type": "image", "image": image} for image in images)]
        messages = [{"role": "user", "content": [*content, {"type": "text", "text": question}]}]
        inputs = self._processor.apply_chat_template(
            messages,
            tokenize=True,
            add_generation_prompt=True,
            return_dict=True,
            return_tensors="pt",
        )
        return dict(inputs.to(self.model.device, self.model.dtype))

    def num_visual_units(self, media: Sequence[Decoded]) -> int:
        """Return the number of images."""
        return sum(len(one.frames.pixels_THWC) for one in media)


def load_reference(folder: Path, model: ModelSpec) -> TransformersReference:
    """Load a whole checkpoint the ordinary way."""
    loaded = AutoModelForImageTextToText.from_pretrained(
        folder,
        dtype=getattr(torch, model.dtype),
        attn_implementation=model.attention,
        local_files_only=True,
    )
    return TransformersReference(loaded.eval().to(device(model)), load_processor(folder))
