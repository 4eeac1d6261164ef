"""The embedded demo: short clips of small handwritten digits, six questions on each."""

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from encodeonce.datasets.metrics.exact_match import score_exact_match
from encodeonce.datasets.metrics.multiple_choice import score_choice
from encodeonce.datasets.options import LocalPath
from encodeonce.datasets.prompts import format_question_in_form
from encodeonce.datasets.readers.questions import Columns, json_lines, read_samples
from encodeonce.datasets.sample import About, Sample, Score

_FOLDER = Path(__file__).parent.parent / "demo"


class BENCHMARK(BaseModel):
    """Which digit is where, when, and which are there in all."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    about: ClassVar[About] = About(
        title="The demo: small digits in short clips, by place, scene and tile, and lists of them",
        media="videos",
        source="ships with encodeonce: datasets/demo/",
        download="Nothing to download. What the clips are made of: datasets/demo/LICENSES.md.",
    )

    split: Literal["heldout", "train", "all"] = Field(
        default="heldout", description="'train' is what the demo model was trained on."
    )

    folder: LocalPath | None = Field(
        default=None,
        description="Other clips of this kind, made by `python -m encodeonce.datasets.demo.build`.",
    )

    @property
    def media_root(self) -> Path:
        """The folder that the clips' paths are relative to."""
        return self.folder or _FOLDER

    def samples(self) -> Iterator[Sample]:
        """Yield the split's questions, in the order of the file."""
        for sample in read_samples(json_lines(self.media_root / "questions.jsonl"), Columns()):
            if self.split in ("all", sample.tags["split"]):
                yield sample

    def prompt(self, sample: Sample) -> str:
        """Return the question with its options, and the instruction that its form asks for."""
        return format_question_in_form(sample.question, sample.choices, sample.tags["form"])

    def score(self, sample: Sample, answer: str) -> Score:
        """Score by the option's letter where there are options, else by exact match."""
        return score_choice(sample, answer) if sample.choices else score_exact_match(sample, answer)
