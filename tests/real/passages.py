"""Passages of prose for compressors: lessons about what follows their beginnings.

A passage is whole articles and the beginning of one more, and no two share an article. A lesson
about it compresses its first N tokens and lets the student read the T tokens behind them; the
teacher's distributions over the next tokens are the target, and the tokens are the articles' own.

Shapes: M tokens of a passage, N of the part that is compressed, T of what is read behind it.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from encodeonce.models.kv.trained.distillation import Lesson, PromptStates
from encodeonce.models.kv.trained.loss import Outputs
from tests.real.prose import articles

LEAST_BEFORE = 192
"""Smallest N of a lesson that is trained on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Passages of M tokens."""

    training: Sequence[list[int]]
    validation: Sequence[list[int]]
    """Choose the best step, and no more."""
    held_out: Sequence[list[int]]


def parts(
    decoder: Any, num_tokens: int, num_training: int, num_validation: int, num_held_out: int
) -> Parts:
    """Return passages for each purpose: the held-out ones from the corpus's end.

    Raises:
        ValueError: the corpus has not as many.
    """
    found = passages(decoder, num_tokens)
    wanted = num_training + num_validation + num_held_out
    if wanted > len(found):
        raise ValueError(
            f"the corpus has {len(found)} passages of {num_tokens} tokens, not {wanted} "
            f"({num_training} + {num_validation} + {num_held_out})"
        )
    first = len(found) - num_held_out
    return Parts(
        training=found[:num_training],
        validation=found[first - num_validation : first],
        held_out=found[first:],
    )


def passages(decoder: Any, num_tokens: int) -> list[list[int]]:
    """Return the corpus as passages of M tokens; what is left of an article's end is dropped."""
    found: list[list[int]] = []
    token_ids: list[int] = []
    for article in fresh(articles()):
        token_ids += decoder.ids(f"\n\n{article}" if token_ids else article)
        if len(token_ids) >= num_tokens:
            found.append(token_ids[:num_tokens])
            token_ids = []
    return found


def fresh(texts: Iterable[str]) -> Iterator[str]:
    """Yield texts, but none that tells again what another one has told in the same words.

    The corpus has news that came twice. A repetition is a text that shares more than a fifth of its
    sequences of eight words with earlier ones.
    """
    seen: set[tuple[str, ...]] = set()
    for text in texts:
        words = text.split()
        sequences = {tuple(words[n : n + 8]) for n in range(len(words) - 7)}
        if 5 * len(sequences & seen) <= len(sequences):
            yield text
        seen |= sequences


class Read:
    """A passage, and everything that the model makes of it in one pass."""

    def __init__(self, model: Any, token_ids: Sequence[int]) -> None:
        """Read a passage.

        Args:
            model: of transformers, without layers that have a sliding window.
            token_ids: M.
        """
        self._head = model.lm_head
        self._token_ids = torch.tensor([token_ids])
        with torch.no_grad():
            output = model.model(input_ids=self._token_ids, use_cache=True)
        self._hidden = output.last_hidden_state
        layers = output.past_key_values.layers
        self._keys = torch.stack([layer.keys[0] for layer in layers])
        self._values = torch.stack([layer.values[0] for layer in layers])

    def lesson(self, num_before: int, num_after: int) -> Lesson:
        """Return the lesson that compresses N tokens and reads the T behind them."""
        end = num_before + num_after
        with torch.no_grad():
            logits = self._head(self._hidden[:, num_before:end])
        everywhere = torch.ones(1, num_after, dtype=torch.bool)
        prompt = PromptStates(
            keys=self._keys[:, :, :num_before],
            values=self._values[:, :, :num_before],
            is_visual=torch.zeros(num_before, dtype=torch.bool),
            numbers=range(len(self._keys)),
            windows={},
        )
        return Lesson(
            prompts=[prompt],
            token_ids=self._token_ids[:, num_before:end],
            is_real=everywhere,
            is_answer=everywhere,
            teacher=Outputs(logits),
            position_offset=0,
        )


class ProseLessons:
    """Lessons by number, for the trainer: a passage, and where in it compression ends."""

    def __init__(
        self, model: Any, prose: Sequence[Sequence[int]], num_after: int, seed: int
    ) -> None:
        """Take passages; they are read when they are first asked for, and remembered."""
        self._model, self._prose = model, prose
        self._num_after, self._seed = num_after, seed
        self._read: dict[int, Read] = {}

    @property
    def sha256(self) -> str:
        """Of everything that decides what the lessons are."""
        content = json.dumps([self._prose, self._num_after, self._seed])
        return hashlib.sha256(content.encode()).hexdigest()

    def draw(self, step: int, index: int) -> Lesson:
        """Return the lesson of a step's place ``index``."""
        generator = np.random.default_rng([self._seed, step, index])
        number = int(generator.integers(len(self._prose)))
        most = len(self._prose[number]) - self._num_after
        return self.read(number).lesson(
            int(generator.integers(min(LEAST_BEFORE, most), most + 1)), self._num_after
        )

    def read(self, number: int) -> Read:
        """Return a passage that has been read."""
        if number not in self._read:
            self._read[number] = Read(self._model, self._prose[number])
        return self._read[number]
