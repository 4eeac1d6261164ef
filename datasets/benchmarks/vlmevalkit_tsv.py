"""Any image TSV of VLMEvalKit: one of the hundreds it lists, or your own (`readers/vlmevalkit.py`).

Prompts and scorers are VLMEvalKit's defaults for the three kinds of data set (``ImageMCQDataset``,
``ImageVQADataset``, ``ImageYORNDataset``), without a judge. What VLMEvalKit does for one data set
by a class of its own is not done here.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from encodeonce.datasets.metrics.exact_match import normalise
from encodeonce.datasets.metrics.vlmevalkit import infer_option, infer_yes_no
from encodeonce.datasets.metrics.vqa import VqaMetric, score_vqa
from encodeonce.datasets.options import LocalPath
from encodeonce.datasets.prompts import format_question
from encodeonce.datasets.readers.circular import circular_figures, in_circles
from encodeonce.datasets.readers.published import complete
from encodeonce.datasets.readers.vlmevalkit import (
    ChoicePrompt,
    Question,
    as_sample,
    choice_prompt,
    default_images,
    read_questions,
)
from encodeonce.datasets.sample import About, BenchmarkError, Sample, Score, Scored


class BENCHMARK(BaseModel):
    """Rows with options are multiple choice; the others are free answers, or yes and no."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, json_schema_extra={"examples": [{"dataset": "MMStar"}]}
    )

    measure: ClassVar[str] = "accuracy"
    about: ClassVar[About] = About(
        title="VLMEvalKit TSV: any of its image data sets; options, words, or yes and no",
        media="images",
        source="https://github.com/open-compass/VLMEvalKit",
        download=(
            "Download NAME.tsv from the address that VLMEvalKit's vlmeval/dataset/ gives for the "
            "data set (each under its own licence) to $LMUData, by default ~/LMUData, and set "
            "option `dataset` to NAME; or set option `file` to a TSV anywhere."
        ),
    )

    dataset: str | None = Field(
        default=None, description="Read NAME.tsv in $LMUData, or in ~/LMUData."
    )
    file: LocalPath | None = Field(default=None, description="Instead: a TSV file anywhere.")
    images: LocalPath | None = Field(
        default=None,
        description="Folder that `image_path` is relative to, and that base64 pictures are written "
        "to; default: images/NAME beside the TSV.",
    )
    free_answers: Literal["words", "yes_no"] = Field(
        default="words",
        description="What is asked for if there are no options. 'yes_no' adds nothing to the "
        "question and reads Yes or No out of the answer (MME, POPE, HallusionBench).",
    )
    metric: VqaMetric = Field(
        default="exact",
        description="How words are scored. VLMEvalKit takes 'vqa_score' for TextVQA, 'anls' for "
        "DocVQA and InfoVQA, 'relaxed_accuracy' for ChartQA, 'accuracy' for OCRVQA and GQA.",
    )
    evaluation: Literal["vanilla", "circular"] = Field(
        default="vanilla",
        description="'circular' for MMBench, CCBench and files named ..._circular: a question "
        "is right if it is right in all orders of its options.",
    )
    prompt_style: ChoicePrompt = Field(
        default="vlmevalkit", description="'llava': options in the words of LLaVA's evaluation."
    )

    @model_validator(mode="after")
    def _has_one_source(self) -> "BENCHMARK":
        if (self.file is None) == (self.dataset is None):
            raise ValueError("write either 'dataset' or 'file'")
        return self

    @property
    def media_root(self) -> Path:
        """The folder of pictures."""
        return self.images or default_images(self._tsv)

    def samples(self) -> Iterator[Sample]:
        """Yield the questions in the order of the file; copies follow their question.

        Raises:
            BenchmarkError: data are missing or not as VLMEvalKit has them.
        """
        found: Iterator[Question] | list[Question]
        found = read_questions(self._tsv, self.media_root, self.about.download)
        if self.evaluation == "circular":
            found = in_circles(found)
        placed = ((question.place, self._sample(question)) for question in found)
        yield from complete(placed, self.media_root, self.about.download)

    def prompt(self, sample: Sample) -> str:
        """Return what VLMEvalKit asks."""
        if sample.choices:
            return choice_prompt(sample, self.prompt_style)
        if self.free_answers == "yes_no":
            return sample.question
        return format_question(sample.question)

    def score(self, sample: Sample, answer: str) -> Score:
        """Score as VLMEvalKit does without a judge."""
        if sample.choices or self.free_answers == "yes_no":
            if sample.choices:
                extracted = infer_option(answer, sample.choices)
            else:
                extracted = infer_yes_no(answer)
            return Score(value=float(extracted == sample.target), extracted=extracted)
        value = score_vqa(self.metric, sample.references or (sample.target,), answer)
        return Score(value=value, extracted=normalise(answer) or None)

    def summarise(self, scored: Sequence[Scored]) -> Mapping[str, float]:
        """Return the circular accuracies; nothing if every row is a question of its own."""
        if self.evaluation == "vanilla":
            return {}
        return circular_figures(scored, ("l2-category", "category"))

    @property
    def _tsv(self) -> Path:
        if self.file is not None:
            return self.file
        # VLMEvalKit's name for it, in this spelling.
        root = os.environ.get("LMUData") or Path.home() / "LMUData"  # noqa: SIM112
        return Path(root) / f"{self.dataset}.tsv"

    def _sample(self, question: Question) -> Sample:
        sample = as_sample(question, self.prompt_style)
        is_yes_no = not sample.choices and self.free_answers == "yes_no"
        if is_yes_no and sample.target not in ("Yes", "No"):
            raise BenchmarkError(
                f"{question.place}: the answer is {sample.target!r}; with free_answers: yes_no it "
                f"must be Yes or No"
            )
        return sample
