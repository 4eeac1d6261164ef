"""Answers of a whole model in one go: nothing is shared and nothing is cached between questions."""

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from encodeonce.models.family import Decoded, Generation, GenerationSpec
from encodeonce.models.generation import generate
from encodeonce.models.likelihood import Likelihoods, log_probs_at_once, tokenize_continuations
from encodeonce.models.timing import Stopwatch


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
        """Return how many frames, tiles or images the model is shown."""

    def answer(
        self, media: Sequence[Decoded], question: str, generation: GenerationSpec
    ) -> Generation:
        """Answer a question from decoded frames."""
        start = time.perf_counter()
        inputs = self.inputs(media, question)
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
        """Return how likely some texts are as the answer."""
        watch = Stopwatch()
        with watch.stage("prepare"):
            inputs = self.inputs(media, question)
            token_ids = tokenize_continuations(self._tokenizer, continuations)
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
