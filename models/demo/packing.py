"""Pack lessons: many short texts about a clip in one row, which do not see each other."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from transformers import PreTrainedTokenizerFast

from encodeonce.datasets.demo.contents import NUM_PLACES, NUM_SCENES
from encodeonce.datasets.demo.questions import Cell
from encodeonce.models.demo.lessons import Lesson

IGNORED_LABEL = -100
NO_LESSON = -1
NO_OPTION = -1
NUM_CELLS = NUM_SCENES * NUM_PLACES
SEPARATOR = " "


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedLessons:
    """All that follows the visual tokens; fields are `(B, N, T)`: clips, slots, tokens.

    A slot holds one or several lessons. Tokens of different slots never see each other.

    Attributes:
        ids: Token ids.
        labels: The next token where it belongs to an answer, else `IGNORED_LABEL`.
        offsets: Place of a token within its lesson: each lesson starts right after the clip.
        numbers: Which of the slot's lessons a token belongs to; `NO_LESSON` for padding.
        evidence: For each token the cells to be looked at, `(2, B, N, T, NUM_CELLS)`: first the
            ones that show what comes next, then those of the whole answer.
        options: For a token before a letter, where in its slot the right option ends; else
            `NO_OPTION`.
    """

    ids: torch.Tensor
    labels: torch.Tensor
    offsets: torch.Tensor
    numbers: torch.Tensor
    evidence: torch.Tensor
    options: torch.Tensor

    def mask(self) -> torch.Tensor:
        """Return who sees whom within the slots, `(B, N, T, T)`: the tokens of its own lesson."""
        length = self.numbers.shape[-1]
        same = self.numbers[..., :, None] == self.numbers[..., None, :]
        return same & torch.ones(length, length, dtype=torch.bool).tril()


class _Token(NamedTuple):
    id: int
    label: int
    offset: int
    number: int
    option: int = NO_OPTION
    next_cells: tuple[Cell, ...] = ()
    all_cells: tuple[Cell, ...] = ()


def pack_lessons(
    tokenizer: PreTrainedTokenizerFast, clips: Sequence[Sequence[Lesson]]
) -> PackedLessons:
    """Lay all lessons about each of several clips out in slots, as long as the longest lesson."""
    tokenized = [[_tokenize(tokenizer, lesson) for lesson in lessons] for lessons in clips]
    length = max(len(lesson) for lessons in tokenized for lesson in lessons)
    filled = [_fill_slots(lessons, length) for lessons in tokenized]
    num_slots = max(len(slots) for slots in filled)
    padding = _Token(tokenizer.pad_token_id, IGNORED_LABEL, 0, NO_LESSON)
    numbers = torch.tensor(padding[:5]).repeat(len(clips), num_slots, length, 1)
    evidence = torch.zeros(2, len(clips), num_slots, length, NUM_CELLS, dtype=torch.bool)
    for row, slots in enumerate(filled):
        for n, slot in enumerate(slots):
            numbers[row, n, : len(slot)] = torch.tensor([token[:5] for token in slot])
            for which in (0, 1):
                at, cells = _indices(slot, which)
                evidence[which, row, n, at, cells] = True
    ids, labels, offsets, lessons, options = numbers.unbind(-1)
    return PackedLessons(
        ids=ids,
        labels=labels,
        offsets=offsets,
        numbers=lessons,
        evidence=evidence,
        options=options,
    )


def _indices(slot: Sequence[_Token], which: int) -> tuple[list[int], list[int]]:
    """Return places of tokens in a slot and the cells they should look at, pair by pair."""
    pairs = [
        (at, scene * NUM_PLACES + place)
        for at, token in enumerate(slot)
        for scene, place in (token.all_cells if which else token.next_cells)
    ]
    return [at for at, _ in pairs], [cell for _, cell in pairs]


def _fill_slots(lessons: Sequence[Sequence[_Token]], length: int) -> list[list[_Token]]:
    """Put each lesson, the longest first, into the first slot that has room."""
    slots: list[list[_Token]] = []
    for lesson in sorted(lessons, key=len, reverse=True):
        slot = next((slot for slot in slots if len(slot) + len(lesson) <= length), None)
        if slot is None:
            slots.append(slot := [])
        number, start = (slot[-1].number + 1 if slot else 0), len(slot)
        slot += [
            token._replace(
                number=number,
                option=NO_OPTION if token.option == NO_OPTION else start + token.option,
            )
            for token in lesson
        ]
    return slots


def _tokenize(tokenizer: PreTrainedTokenizerFast, lesson: Lesson) -> list[_Token]:
    """Return a lesson's tokens; only answers have labels."""
    asking, instruction, answer = (
        tokenizer.encode(text, add_special_tokens=False)
        for text in (lesson.asking, lesson.instruction, lesson.answer)
    )
    [separator] = tokenizer.encode(SEPARATOR, add_special_tokens=False)
    # A token's label is the token after it; nothing follows the last one.
    num_before = len(asking) + len(instruction) - 1
    ids = (asking + instruction + answer)[:-1]
    labels = [IGNORED_LABEL] * num_before + answer
    all_cells = tuple(cell for part in lesson.evidence for cell in part)
    parts = iter(lesson.evidence)
    tokens = []
    for n, (token, label) in enumerate(zip(ids, labels, strict=True)):
        tells = label not in (IGNORED_LABEL, separator, tokenizer.eos_token_id)
        next_cells = next(parts) if tells else ()
        seen = all_cells if n >= len(asking) - 1 else ()
        tokens.append(_Token(token, label, n, 0, next_cells=next_cells, all_cells=seen))
    if lesson.option_end is not None:
        before = tokenizer.encode(lesson.instruction[: lesson.option_end], add_special_tokens=False)
        option = len(asking) + len(before) - 1
        tokens[num_before] = tokens[num_before]._replace(option=option)
    return tokens
