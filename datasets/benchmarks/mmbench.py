"""MMBench (Liu et al., 2023, arXiv:2307.06281): options on pictures, asked in a circle.

Prompt and scorer are VLMEvalKit's, the authors' own framework (vlmeval/dataset/image_mcq.py), in
its mode without a GPT judge. The published figure is the circular accuracy; the mean score is the
average over all passes. Both published forms of the TSV are read: with a copy of the picture in
every row ("legacy"), and with one copy and references to it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from encodeonce.datasets.metrics.vlmevalkit import infer_option
from encodeonce.datasets.options import LocalPath
from encodeonce.datasets.readers.circular import circular_figures, in_circles, without_copies
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
    """Perception and reasoning in 20 categories, two to four options."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    measure: ClassVar[str] = "accuracy"
    about: ClassVar[About] = About(
        title="MMBench: perception and reasoning in 20 categories, options, asked in a circle",
        media="images",
        source="https://arxiv.org/abs/2307.06281",
        download=(
            "Download MMBench_DEV_EN.tsv, or another dev split, by the table in "
            "https://github.com/open-compass/MMBench (Apache-2.0; the pictures are their "
            "sources'). Option `file` is that file; its pictures are written to images/ beside it."
        ),
        also=("mmbench_en_dev", "MMBench_DEV_EN", "MMBench_DEV_EN_V11"),
    )

    file: LocalPath = Field(
        description="The TSV of a dev split.", examples=["~/LMUData/MMBench_DEV_EN.tsv"]
    )
    images: LocalPath | None = Field(
        default=None,
        description="Folder to write the pictures of the TSV to; default: images/NAME beside it.",
    )
    evaluation: Literal["circular", "vanilla"] = Field(
        default="circular",
        description="'circular': all passes; 'vanilla': every question once, in the first order.",
    )
    prompt_style: ChoicePrompt = Field(
        default="vlmevalkit",
        description="'llava': the words of LLaVA's evaluation, which end with \"Answer with the "
        "option's letter from the given choices directly.\"",
    )

    @property
    def media_root(self) -> Path:
        """The folder of pictures."""
        return self.images or default_images(self.file)

    def samples(self) -> Iterator[Sample]:
        """Yield the questions in the order of the file, each followed by its copies.

        Raises:
            BenchmarkError: data are missing or not as published.
        """
        found = read_questions(self.file, self.media_root, self.about.download)
        asked = in_circles(found) if self.evaluation == "circular" else without_copies(found)
        placed = ((question.place, self._sample(question)) for question in asked)
        yield from complete(placed, self.media_root, self.about.download)

    def prompt(self, sample: Sample) -> str:
        """Return hint, question, options and an instruction."""
        return choice_prompt(sample, self.prompt_style)

    def score(self, sample: Sample, answer: str) -> Score:
        """Score the option that VLMEvalKit's rules read."""
        extracted = infer_option(answer, sample.choices)
        return Score(value=float(extracted == sample.target), extracted=extracted)

    def summarise(self, scored: Sequence[Scored]) -> Mapping[str, float]:
        """Return the circular accuracies; nothing if every question is asked once."""
        if self.evaluation == "vanilla":
            return {}
        return circular_figures(scored, ("l2-category", "category"))

    def _sample(self, question: Question) -> Sample:
        if len(question.options) < 2:
            raise BenchmarkError(f"{question.place}: the columns A and B hold no options")
        tags = {**question.tags, "hint": "with" if question.hint else "without"}
        return as_sample(replace(question, tags=tags), self.prompt_style)
