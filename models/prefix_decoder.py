"""The language side of a model, with one prefill of the media for all questions on them."""

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch

from encodeonce.models.family import Generation, GenerationSpec, Visual
from encodeonce.models.generation import generate_batch
from encodeonce.models.likelihood import Likelihoods, score_from, tokenize_continuations
from encodeonce.models.prefix import Opening, Prefix, continued, prefill
from encodeonce.models.timing import Stopwatch, synchronize


class PrefixDecoder(ABC):
    """Answers groups of questions. Not for several threads: prefixes keep state in the model."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        """Wrap a transformers model with ``generate``, and its tokenizer."""
        self._model = model
        self._tokenizer = tokenizer

    @abstractmethod
    def check(self, question: str) -> None:
        """Refuse a question that cannot be put.

        Raises:
            ValueError: it contains a placeholder of the model's.
        """

    @abstractmethod
    def _open(self, visuals: Sequence[Visual]) -> Opening:
        """Return how prompts about some media begin."""

    def prefill(self, visuals: Sequence[Visual]) -> Prefix:
        """Run the model over what all questions on some media share."""
        synchronize()
        start = time.perf_counter()
        opening = self._open(visuals)
        synchronize()
        return prefill(self._model, opening, time.perf_counter() - start)

    def answer(
        self, visuals: Sequence[Visual], questions: Sequence[str], generation: GenerationSpec
    ) -> list[Generation]:
        """Answer all questions on some media. What they share is booked on the first answer."""
        prefix = self.prefill(visuals)
        first, *others = self.answer_from(prefix, questions, generation)
        return [replace(first, seconds=_added(prefix.seconds, first.seconds)), *others]

    def answer_from(
        self, prefix: Prefix, questions: Sequence[str], generation: GenerationSpec
    ) -> list[Generation]:
        """Answer questions from a prefix, which can be used again."""
        start = time.perf_counter()
        suffixes = [prefix.suffix(question) for question in questions]
        prepare_s = time.perf_counter() - start
        answers: dict[int, Generation] = {}
        for batch in _batches(suffixes, generation.max_batch, prefix.is_sliding):
            inputs = self._joined(prefix, [suffixes[n] for n in batch])
            with continued(self._model, prefix):
                found = generate_batch(
                    self._model,
                    self._tokenizer,
                    {**inputs, "past_key_values": prefix.fork(len(batch))},
                    generation,
                    num_prompt_tokens=[prefix.num_tokens + len(suffixes[n]) for n in batch],
                    num_visual_units=prefix.opening.num_visual_units,
                )
            answers.update(zip(batch, found, strict=True))
        first, *others = (answers[n] for n in range(len(questions)))
        return [replace(first, seconds=_added({"prepare": prepare_s}, first.seconds)), *others]

    def likelihoods(
        self,
        visuals: Sequence[Visual],
        questions: Sequence[str],
        continuations: Sequence[Sequence[str]],
    ) -> list[Likelihoods]:
        """Return how likely each question's continuations are; questions one after another."""
        prefix = self.prefill(visuals)
        shared, found = prefix.seconds, []
        for question, texts in zip(questions, continuations, strict=True):
            watch = Stopwatch()
            with watch.stage("score"):
                suffix = prefix.suffix(question)
                token_ids = tokenize_continuations(self._tokenizer, texts)
                with continued(self._model, prefix):
                    scored = score_from(self._model, prefix.fork(), suffix, token_ids)
            one = Likelihoods(
                log_probs=tuple(one.log_prob for one in scored),
                are_greedy=tuple(one.is_greedy for one in scored),
                num_tokens=tuple(map(len, token_ids)),
                num_visual_units=prefix.opening.num_visual_units,
                num_prompt_tokens=prefix.num_tokens + len(suffix),
                seconds=_added(shared, watch.take()),
            )
            found.append(one)
            shared = {}
        return found

    def _joined(self, prefix: Prefix, suffixes: Sequence[list[int]]) -> dict[str, torch.Tensor]:
        """Return whole prompts (B, N), with masked tokens between prefix and shorter questions."""
        longest = max(map(len, suffixes))
        rows, mask = [], []
        for suffix in suffixes:
            num_padding = longest - len(suffix)
            # Any token but a visual one will do: it is masked.
            rows.append([*prefix.opening.token_ids, *suffix[:1] * num_padding, *suffix])
            mask.append([*[1] * prefix.num_tokens, *[0] * num_padding, *[1] * len(suffix)])
        device = self._model.device
        return {
            "input_ids": torch.tensor(rows, device=device),
            "attention_mask": torch.tensor(mask, device=device),
        }


def _batches(
    suffixes: Sequence[list[int]], max_batch: int, same_length: bool
) -> Iterator[tuple[int, ...]]:
    """Yield positions that are answered together, in an order that only the questions decide.

    Args:
        suffixes: tokens of each question.
        max_batch: most questions in a batch.
        same_length: whether padding is to be avoided altogether.
    """
    batch: list[int] = []
    for n in sorted(range(len(suffixes)), key=lambda n: (len(suffixes[n]), suffixes[n])):
        other_length = same_length and batch and len(suffixes[n]) != len(suffixes[batch[0]])
        if len(batch) == max_batch or other_length:
            yield tuple(batch)
            batch = []
        batch.append(n)
    if batch:
        yield tuple(batch)


def _added(*stages: Any) -> dict[str, float]:
    total: dict[str, float] = {}
    for seconds in stages:
        for stage, value in seconds.items():
            total[stage] = total.get(stage, 0.0) + value
    return total
