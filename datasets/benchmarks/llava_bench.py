"""LLaVA-Bench (In-the-Wild) (Liu et al., 2023, arXiv:2304.08485): 60 open questions, 24 pictures.

Its score is a judge's: GPT-4 reads a description of the picture, GPT-4's own answer and the
model's, grades both from 1 to 10, and the score is the ratio of the means. With a section `judge`
in the run file an OpenAI-compatible model judges (`rubrics/comparison.py`). Without one, what is
computed is ROUGE-L against GPT-4's answer, which says little.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from encodeonce.datasets.media.media import MediaRef
from encodeonce.datasets.metrics.rouge import rouge_l
from encodeonce.datasets.options import LocalPath
from encodeonce.datasets.readers.published import complete, json_line_rows, parse, require
from encodeonce.datasets.rubric import Judged, Rubric
from encodeonce.datasets.rubrics.comparison import COMPARISON
from encodeonce.datasets.sample import About, BenchmarkError, Sample, Score, Scored

KINDS = {"conv": "conversation", "detail": "detail", "complex": "complex reasoning"}


class _Question(BaseModel):
    model_config = ConfigDict(strict=True)

    question_id: int
    image: str = Field(min_length=1)
    text: str = Field(min_length=1)
    category: Literal["conv", "detail", "complex"]


class _Reference(BaseModel):
    model_config = ConfigDict(strict=True)

    question_id: int
    text: str = Field(min_length=1)


class _Context(BaseModel):
    model_config = ConfigDict(strict=True)

    image: str = Field(min_length=1)
    caption: str | list[str] = Field(min_length=1)


class BENCHMARK(BaseModel):
    """Conversation, detailed description and complex reasoning."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    measure: ClassVar[str] = "ROUGE-L (not the LLaVA-Bench score)"
    judged_measure: ClassVar[str] = "judged answer, of 10"
    rubric: ClassVar[Rubric] = COMPARISON
    about: ClassVar[About] = About(
        title="LLaVA-Bench (In-the-Wild): open questions, graded beside GPT-4's answers",
        media="images",
        source="https://arxiv.org/abs/2304.08485",
        download=(
            "Download the data set liuhaotian/llava-bench-in-the-wild from Hugging Face. Option "
            "`folder` is that folder, which holds questions.jsonl, context.jsonl, "
            "answers_gpt4.jsonl and images/."
        ),
        also=("llava_in_the_wild", "LLaVABench"),
    )

    folder: LocalPath = Field(
        description="The folder with questions.jsonl, context.jsonl, answers_gpt4.jsonl, images/.",
        examples=["/data/llava-bench-in-the-wild"],
    )

    @property
    def media_root(self) -> Path:
        """The folder of pictures."""
        return self.folder / "images"

    def samples(self) -> Iterator[Sample]:
        """Yield the questions in the order of the file.

        Raises:
            BenchmarkError: data are missing or not as published.
        """
        references = self._by_question()
        path = require(self.folder / "questions.jsonl", self.about.download)
        placed = []
        for row in json_line_rows(path):
            question = parse(row, _Question)
            if question.question_id not in references:
                raise BenchmarkError(
                    f"{row.place}: answers_gpt4.jsonl has no answer to question "
                    f"{question.question_id}. {self.about.download}"
                )
            placed.append((row.place, _sample(question, references[question.question_id])))
        yield from complete(placed, self.media_root, self.about.download)

    def prompt(self, sample: Sample) -> str:
        """Return the question alone."""
        return sample.question

    def score(self, sample: Sample, answer: str) -> Score:
        """Score the overlap with GPT-4's answer."""
        return Score(value=rouge_l(answer, sample.target), extracted=answer.strip() or None)

    def summarise(self, scored: Sequence[Scored]) -> Mapping[str, float]:
        """Return nothing: without a judge there is no published figure."""
        return {}

    def judged_texts(self, sample: Sample, answer: str) -> Mapping[str, str]:
        """Return the picture's description, the question and both answers.

        Raises:
            BenchmarkError: context.jsonl is missing, or lacks the picture.
        """
        image = sample.media[0].path
        if image not in self._captions:
            raise BenchmarkError(
                f"{self.folder / 'context.jsonl'} says nothing of {image}. {self.about.download}"
            )
        return {
            "context": self._captions[image],
            "question": sample.question,
            "reference": sample.target,
            "answer": answer,
        }

    def summarise_verdicts(self, judged: Sequence[Judged]) -> Mapping[str, float]:
        """Return 100 times the ratio of the mean grades, of all questions and of each kind."""
        kinds = dict.fromkeys(sorted(one.tags["category"] for one in judged))
        parts = {"all": list(judged)} | {
            kind: [one for one in judged if one.tags["category"] == kind] for kind in kinds
        }
        return {f"relative score, {kind}": _relative(part) for kind, part in parts.items()}

    @cached_property
    def _captions(self) -> dict[str, str]:
        path = require(self.folder / "context.jsonl", self.about.download)
        found = {}
        for row in json_line_rows(path):
            context = parse(row, _Context)
            lines = [context.caption] if isinstance(context.caption, str) else context.caption
            found[context.image] = "\n".join(lines)
        return found

    def _by_question(self) -> dict[int, str]:
        path = require(self.folder / "answers_gpt4.jsonl", self.about.download)
        rows = [(row.place, parse(row, _Reference)) for row in json_line_rows(path)]
        found: dict[int, str] = {}
        for place, one in rows:
            if one.question_id in found:
                raise BenchmarkError(f"{place}: question {one.question_id} is answered twice")
            found[one.question_id] = one.text
        return found


def _sample(question: _Question, reference: str) -> Sample:
    return Sample(
        id=str(question.question_id),
        media=(MediaRef(kind="image", path=question.image),),
        question=question.text,
        target=reference,
        group=question.image,
        tags={"category": KINDS[question.category]},
    )


def _relative(judged: Sequence[Judged]) -> float:
    """Return 100 times the mean grade over the references' mean grade."""
    ours = sum(one.verdict.value for one in judged)
    theirs = sum(one.verdict.reference or 0.0 for one in judged)
    return 100 * ours / theirs if theirs else 0.0
