"""The whole model as plain transformers runs it: answers from stored features must equal its."""

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image
from transformers import AutoModelForImageTextToText

from encodeonce.models.answer import Generation, Likelihoods
from encodeonce.models.checkpoint.loading import load_whole
from encodeonce.models.language.chat import load_processor
from encodeonce.models.language.context import check_length, has_three_axes
from encodeonce.models.language.likelihood import log_probs_at_once, tokenize_continuations
from encodeonce.models.language.plain import generate
from encodeonce.models.spec import GenerationSpec, ModelSpec
from encodeonce.models.timing import Stopwatch
from encodeonce.models.vision.visual import Decoded


class PlainReference(ABC):
    """Runs a model on prompts whose media are given as frames."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        """Wrap a transformers model and its tokenizer."""
        self.model = model
        self._tokenizer = tokenizer

    @abstractmethod
    def inputs(self, media: Sequence[Decoded], question: str) -> dict[str, Any]:
        """Return the model's arguments for one prompt (1, N), pixels included."""

    @abstractmethod
    def num_visual_units(self, media: Sequence[Decoded]) -> int:
        """Return how many frames, tiles or images the model sees."""

    def answer(
        self, media: Sequence[Decoded], question: str, generation: GenerationSpec
    ) -> Generation:
        """Answer a question from decoded frames."""
        start = time.perf_counter()
        inputs = self.inputs(media, question)
        self._check_length(inputs, generation.max_new_tokens)
        return generate(
            self.model,
            self._tokenizer,
            inputs,
            generation,
            num_visual_units=self.num_visual_units(media),
            prepare_s=time.perf_counter() - start,
        )

    def likelihoods(
        self, media: Sequence[Decoded], question: str, continuations: Sequence[str]
    ) -> Likelihoods:
        """Return the likelihoods of some texts as the answer."""
        watch = Stopwatch()
        with watch.stage("prepare"):
            inputs = self.inputs(media, question)
            token_ids = tokenize_continuations(self._tokenizer, continuations)
        self._check_length(inputs, max(map(len, token_ids)))
        with watch.stage("score"):
            scored = log_probs_at_once(self.model, inputs, token_ids)
        return Likelihoods(
            log_probs=scored.sums(),
            are_greedy=tuple(scored.are_greedy),
            num_tokens=tuple(map(len, token_ids)),
            num_visual_units=self.num_visual_units(media),
            num_prompt_tokens=inputs["input_ids"].shape[1],
            seconds=watch.take(),
        )

    def _check_length(self, inputs: Mapping[str, Any], num_new: int) -> None:
        """Refuse what the decoder refuses; not where positions are known to the model alone."""
        if not has_three_axes(self.model.config):
            check_length(self.model.config, inputs["input_ids"].shape[1], num_new)


class TransformersReference(PlainReference):
    """The whole model, from pixels, using only the processor and ``generate``."""

    def __init__(self, model: Any, processor: Any) -> None:
        super().__init__(model, processor.tokenizer)
        self._processor = processor

    def inputs(self, media: Sequence[Decoded], question: str) -> dict[str, Any]:
        """Return the processor's output for a prompt."""
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
    """Load a whole checkpoint in transformers' usual way."""
    loaded = load_whole(AutoModelForImageTextToText, folder, model)
    return TransformersReference(loaded, load_processor(folder))
