"""Make the language side's lessons: questions with answers, laid out as the processor does."""

import string
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import LlavaProcessor, PreTrainedTokenizerFast

from encodeonce.datasets.demo.questions import (
    KINDS,
    MAX_COUNT,
    NUM_CHOICES,
    NUM_SCENES,
    Kind,
    draw_digits,
    draw_question,
)
from encodeonce.datasets.prompts import format_question
from encodeonce.models.demo.architecture import IMAGE, PATCHES_PER_FRAME

NUM_TOKENIZER_CLIPS = 500
IGNORED_LABEL = -100
NO_LESSON = -1
FORMS = ("choice", "free")
QUESTIONS_PER_DRILL = 8
TRANSCRIPT_REQUEST = "List the digits of all scenes in order."


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """Prompts about a clip, each with the answer to be learnt; later ones see earlier ones."""

    turns: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedLessons:
    """All that follows the visual tokens, several lessons in one row; each field is `(B, S)`.

    Attributes:
        ids: Token ids.
        labels: The next token where it belongs to an answer, else `IGNORED_LABEL`.
        offsets: Place of a token within its lesson: each lesson starts right after the clip.
        numbers: Which lesson a token belongs to; `NO_LESSON` for padding.
    """

    ids: torch.Tensor
    labels: torch.Tensor
    offsets: torch.Tensor
    numbers: torch.Tensor

    def mask(self, prefix_length: int) -> torch.Tensor:
        """Return who sees whom, `(B, 1, S, prefix_length + S)`: the clip and its own lesson."""
        num_rows, length = self.ids.shape
        same_lesson = self.numbers[:, :, None] == self.numbers[:, None, :]
        own = same_lesson & torch.ones(length, length, dtype=torch.bool).tril()
        clip = torch.ones(num_rows, length, prefix_length, dtype=torch.bool)
        return torch.cat([clip, own], dim=2)[:, None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The text around a question about a clip.

    Attributes:
        prefix_ids: Ids from the first to the last visual token, which stand in for features.
        tail_prefix: Text between the last visual token and the question.
        tail_suffix: Text between the question and the answer.
        eos: Text that ends an answer.
    """

    prefix_ids: torch.Tensor
    tail_prefix: str
    tail_suffix: str
    eos: str

    def wrap(self, prompt: str) -> str:
        """Return the text from the last visual token to the answer."""
        return self.tail_prefix + prompt + self.tail_suffix


def read_layout(processor: LlavaProcessor) -> Layout:
    """Read the layout off the processor's own chat template, so that both cannot differ."""
    marker = "QUESTION"
    content = [{"type": "image"}] * NUM_SCENES + [{"type": "text", "text": marker}]
    messages: list[Any] = [{"role": "user", "content": content}]
    chat = str(processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False))
    head, tail = chat.rsplit(IMAGE, 1)
    tail_prefix, tail_suffix = tail.split(marker)
    tokenizer = processor.tokenizer
    prefix = (head + IMAGE).replace(IMAGE, IMAGE * PATCHES_PER_FRAME)
    return Layout(
        prefix_ids=torch.tensor(tokenizer.encode(prefix, add_special_tokens=False)),
        tail_prefix=tail_prefix,
        tail_suffix=tail_suffix,
        eos=str(tokenizer.eos_token),
    )


def make_transcript(layout: Layout, digits: Sequence[int]) -> Lesson:
    """Ask for the whole clip: eight answers to learn from instead of one."""
    answer = " ".join(str(digit) for digit in digits)
    prompt = layout.wrap(format_question(TRANSCRIPT_REQUEST))
    return Lesson(turns=((prompt, answer + layout.eos),))


def make_drill(rng: np.random.Generator, digits: Sequence[int], kind: Kind) -> Lesson:
    """Ask many bare questions of a kind in a row: most answers for the fewest tokens."""
    questions = [
        draw_question(rng, kind, digits, _draw_counted(rng, digits), None)
        for _ in range(QUESTIONS_PER_DRILL)
    ]
    return Lesson(turns=tuple((question.text, question.answer) for question in questions))


def make_lesson(
    rng: np.random.Generator, layout: Layout, digits: Sequence[int], kind: Kind, form: str
) -> Lesson:
    """Ask one question exactly as the benchmark and the processor lay it out.

    The right option is answered by its text: to go on from there to its letter is one step more
    than four layers learn in the time (measured: letters stayed at chance while texts were right).
    """
    position = int(rng.integers(NUM_CHOICES)) if form == "choice" else None
    question = draw_question(rng, kind, digits, _draw_counted(rng, digits), position)
    prompt = layout.wrap(format_question(question.text, question.choices))
    answer = question.answer if position is None else question.choices[position]
    return Lesson(turns=((prompt, answer + layout.eos),))


def teach_transcripts(
    rng: np.random.Generator, layout: Layout, digits: Sequence[int]
) -> list[Lesson]:
    """First course: which frame is which, and which digit is in it."""
    del rng
    return [make_transcript(layout, digits)]


def teach_drills(rng: np.random.Generator, layout: Layout, digits: Sequence[int]) -> list[Lesson]:
    """Second course: what the questions mean."""
    drills = [make_drill(rng, digits, kind) for kind in KINDS]
    return [make_transcript(layout, digits), *drills]


def teach_mixed(rng: np.random.Generator, layout: Layout, digits: Sequence[int]) -> list[Lesson]:
    """Third course: drills, and the same questions as the benchmark puts them."""
    questions = [make_lesson(rng, layout, digits, kind, form) for kind in KINDS for form in FORMS]
    return [*teach_drills(rng, layout, digits), *questions]


def teach_questions(
    rng: np.random.Generator, layout: Layout, digits: Sequence[int]
) -> list[Lesson]:
    """Last courses: the benchmark's own questions in both forms, two of each."""
    forms = [(kind, form) for kind in KINDS for form in FORMS] * 2
    return [make_lesson(rng, layout, digits, kind, form) for kind, form in forms]


def draw_clip(rng: np.random.Generator) -> list[int]:
    """Draw the digits of a clip as the benchmark does."""
    return draw_digits(rng, int(rng.integers(10)), int(rng.integers(MAX_COUNT + 1)))


def _draw_counted(rng: np.random.Generator, digits: Sequence[int]) -> int:
    """Draw a digit to count so that every count that occurs is equally likely."""
    by_count: dict[int, list[int]] = {}
    for digit in range(10):
        by_count.setdefault(digits.count(digit), []).append(digit)
    members = by_count[int(rng.choice(sorted(n for n in by_count if n <= MAX_COUNT)))]
    return int(rng.choice(members))


def iterate_texts(seed: int) -> Iterator[str]:
    """Yield texts for the tokenizer: prompts, and what users may add."""
    rng = np.random.default_rng(seed)
    for _ in range(NUM_TOKENIZER_CLIPS):
        digits = draw_clip(rng)
        for kind in KINDS:
            question = draw_question(rng, kind, digits, _draw_counted(rng, digits), 0)
            yield format_question(question.text, question.choices)
            yield format_question(question.text)
    yield "You answer questions about a video."
    yield format_question(TRANSCRIPT_REQUEST)
    yield string.printable


Token = tuple[int, int, int, int]


def pack_lessons(
    tokenizer: PreTrainedTokenizerFast, clips: Sequence[Sequence[Lesson]]
) -> PackedLessons:
    """Lay all lessons about a clip out one after the other, for each of several clips."""
    rows = [
        [token for n, lesson in enumerate(lessons) for token in _tokenize(tokenizer, lesson, n)]
        for lessons in clips
    ]
    length = max(len(row) for row in rows)
    padding = (tokenizer.pad_token_id, IGNORED_LABEL, 0, NO_LESSON)
    packed = torch.tensor([row + [padding] * (length - len(row)) for row in rows])
    ids, labels, offsets, numbers = packed.unbind(-1)
    return PackedLessons(ids=ids, labels=labels, offsets=offsets, numbers=numbers)


def _tokenize(tokenizer: PreTrainedTokenizerFast, lesson: Lesson, number: int) -> list[Token]:
    """Return each token's id, label, offset and lesson number; only answers have labels."""
    ids: list[int] = []
    targets: list[int] = []
    for prompt, answer in lesson.turns:
        prompt_ids = tokenizer.encode(prompt, add_special_tokens=False)
        answer_ids = tokenizer.encode(answer, add_special_tokens=False)
        ids += prompt_ids + answer_ids
        targets += [IGNORED_LABEL] * len(prompt_ids) + answer_ids
    # A token's label is the token after it.
    labels = [*targets[1:], IGNORED_LABEL]
    return [
        (token, label, offset, number)
        for offset, (token, label) in enumerate(zip(ids, labels, strict=True))
    ]
