"""Make the language side's lessons: questions with answers, laid out as the processor does."""

import string
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import LlavaProcessor

from encodeonce.datasets.demo.contents import NUM_SCENES, Contents
from encodeonce.datasets.demo.questions import (
    FORMS,
    KINDS,
    LISTED_KINDS,
    NUM_CHOICES,
    Evidence,
    Form,
    Kind,
    Question,
    draw_clip,
    draw_question,
)
from encodeonce.datasets.prompts import format_question_in_form
from encodeonce.models.demo.architecture import IMAGE, PATCHES_PER_FRAME

NUM_TOKENIZER_CLIPS = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """A question about a clip in the text that surrounds it, and the answer to be learnt.

    Attributes:
        asking: Text from the last visual token to the end of the question proper.
        instruction: From there to the answer.
        answer: What is to be learnt.
        evidence: Where the answer is to be seen.
        option_end: Where in the instruction the right option ends, counted in characters; None
            if the answer is not a letter.
    """

    asking: str
    instruction: str
    answer: str
    evidence: Evidence
    option_end: int | None = None


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

    def lesson(self, question: Question, form: Form) -> Lesson:
        """Return a question as the benchmark and the processor lay it out, with its answer."""
        prompt = format_question_in_form(question.text, question.choices, form)
        instruction = prompt.removeprefix(question.text) + self.tail_suffix
        answer, option_end = question.answer, None
        if question.choices:
            text = question.choices[string.ascii_uppercase.index(answer)]
            option = f"\n{answer}. {text}"
            if form == "text":
                answer = text
            else:
                option_end = instruction.index(option) + len(option)
        return Lesson(
            asking=self.tail_prefix + question.text,
            instruction=instruction,
            answer=answer + self.eos,
            evidence=question.evidence,
            option_end=option_end,
        )

    def drill(self, question: Question) -> Lesson:
        """Return a bare question: most answers to learn from for the fewest tokens."""
        return Lesson(
            asking=self.tail_prefix + question.text,
            instruction=self.tail_suffix,
            answer=question.answer + self.eos,
            evidence=question.evidence,
        )


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


def make_drill(
    rng: np.random.Generator, layout: Layout, scenes: Sequence[Contents], kind: Kind
) -> Lesson:
    """Ask a bare question, without options or instruction."""
    return layout.drill(draw_question(rng, kind, scenes, None))


def make_lesson(
    rng: np.random.Generator, layout: Layout, scenes: Sequence[Contents], kind: Kind, form: Form
) -> Lesson:
    """Ask a question exactly as it will be asked."""
    position = None if form == "free" else int(rng.integers(NUM_CHOICES))
    return layout.lesson(draw_question(rng, kind, scenes, position), form)


def forms_of(kind: Kind) -> tuple[Form, ...]:
    """Return the forms in which questions of a kind are put."""
    return ("free",) if kind in LISTED_KINDS else FORMS


def iterate_texts(seed: int, num_clips: int = NUM_TOKENIZER_CLIPS) -> Iterator[str]:
    """Yield texts for the tokenizer: prompts, and what users may add."""
    rng = np.random.default_rng(seed)
    for _ in range(num_clips):
        scenes = draw_clip(rng)
        for kind in KINDS:
            for form in forms_of(kind):
                question = draw_question(rng, kind, scenes, None if form == "free" else 0)
                yield format_question_in_form(question.text, question.choices, form)
                yield question.answer
    yield "You answer questions about a video."
    yield string.printable
