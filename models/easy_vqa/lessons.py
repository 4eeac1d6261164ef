"""Lay out pictures and several questions on each as one row of tokens.

The questions of a row do not see each other: each follows the picture as if it were alone, at the
positions that it will have when it is asked.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import LlavaProcessor

from encodeonce.datasets.prompts import format_question
from encodeonce.datasets.sample import Sample
from encodeonce.models.easy_vqa.architecture import EOS

IGNORED_LABEL = -100
_NONE = -1
"""The number of what belongs to no question: prefix and padding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """Questions with their answers, one row for each picture. B rows of T tokens.

    Attributes:
        ids: `(B, T)`.
        labels: `(B, T)`, the token that follows, where it is of an answer, else `IGNORED_LABEL`.
        offsets: `(B, T)`, how far behind the picture a token stands.
        numbers: `(B, T)`, which of a row's questions it belongs to.
    """

    ids: torch.Tensor
    labels: torch.Tensor
    offsets: torch.Tensor
    numbers: torch.Tensor

    def mask(self, prefix_length: int) -> torch.Tensor:
        """Return what sees what, `(B, 1, V + T, V + T)` of bool, with V tokens of prefix before.

        Tokens see the prefix and their own question, neither of them beyond themselves.
        """
        in_prefix = self.numbers.new_full((len(self.ids), prefix_length), _NONE)
        numbers = torch.cat([in_prefix, self.numbers], 1)
        is_same = numbers[:, :, None] == numbers[:, None, :]
        is_prefix = torch.arange(numbers.shape[1]) < prefix_length
        return (is_same | is_prefix).tril()[:, None]


class Layout:
    """How the processor lays out a picture and a question."""

    def __init__(self, processor: LlavaProcessor) -> None:
        """Read it out of the processor's chat template."""
        self._tokenizer = processor.tokenizer
        content = [{"type": "image"}, {"type": "text", "text": "\0"}]
        messages: Any = [{"role": "user", "content": content}]
        text: str = processor.apply_chat_template(
            messages, add_generation_prompt=True, tokenize=False
        )
        head, _, self._tail = text.partition("\0")
        self.before = torch.tensor(self._encode(head.removesuffix(processor.image_token)))

    def pack(self, rows: Sequence[Sequence[Sample]]) -> Packed:
        """Return the questions on each picture, all of a row one after the other."""
        cells = [
            [cell for number, sample in enumerate(row) for cell in self._cells(sample, number)]
            for row in rows
        ]
        length = max(map(len, cells))
        padding = (self._tokenizer.pad_token_id, IGNORED_LABEL, 0, _NONE)
        table = torch.tensor([row + [padding] * (length - len(row)) for row in cells])
        ids, labels, offsets, numbers = table.unbind(-1)
        return Packed(ids=ids, labels=labels, offsets=offsets, numbers=numbers)

    def _cells(self, sample: Sample, number: int) -> Iterator[tuple[int, int, int, int]]:
        question = self._encode(format_question(sample.question) + self._tail)
        answer = self._encode(sample.target + EOS)
        labels = [IGNORED_LABEL] * (len(question) - 1) + answer + [IGNORED_LABEL]
        for offset, (token, label) in enumerate(zip(question + answer, labels, strict=True)):
            yield token, label, offset, number

    def _encode(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False)
        return ids


class Balance:
    """Weights under which all answers to a question count the same, however rare they are.

    Most things that are asked for are not there: a model that says so whatever it sees is right
    seven times out of eight about colours.
    """

    def __init__(self, samples: Sequence[Sequence[Sample]]) -> None:
        """Count the answers to each question."""
        pairs = Counter((sample.question, sample.target) for row in samples for sample in row)
        asked = Counter(sample.question for row in samples for sample in row)
        num_answers = Counter(question for question, _ in pairs)
        self._weights = {
            (question, target): asked[question] / (num_answers[question] * count)
            for (question, target), count in pairs.items()
        }

    def weight(self, sample: Sample) -> float:
        """Return a sample's weight; the mean over the samples of one question is 1."""
        return self._weights[sample.question, sample.target]


def iterate_texts(samples: Sequence[Sequence[Sample]]) -> Iterator[str]:
    """Yield texts for the tokenizer: every prompt and every answer."""
    for row in samples:
        for sample in row:
            yield format_question(sample.question)
            yield sample.target
