"""Skills that an adapter can teach the demo's model: questions about the demo's clips."""

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from encodeonce.datasets.metrics.exact_match import score_exact_match
from encodeonce.datasets.prompts import format_question
from encodeonce.datasets.readers.questions import Columns, json_lines, read_samples
from encodeonce.datasets.sample import About, Sample, Score

_FOLDER = Path(__file__).parent.parent / "demo"


class BENCHMARK(BaseModel):
    """One skill: a digit at a place, the first of a scene, a scene's number, or when a tile is."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    about: ClassVar[About] = About(
        title="The demo's clips: skills to teach its model by an adapter",
        media="videos",
        source="ships with encodeonce: datasets/demo/units.py",
        download="Nothing to download. What the clips are made of: datasets/demo/LICENSES.md.",
    )

    unit: Literal["place", "first", "number", "when", "numeral"] = Field(
        default="place",
        description="'place', 'when': the demo's own; 'first': the first digit of a scene; "
        "'number': the number of the scene with a tile; 'numeral': the same, in the words of "
        "'when', which is answered by 'third'.",
    )
    split: Literal["heldout", "train"] = Field(
        default="heldout", description="'train': clips that the demo model was trained on."
    )

    @property
    def media_root(self) -> Path:
        """The demo's folder."""
        return _FOLDER

    def samples(self) -> Iterator[Sample]:
        """Yield the questions of a skill, in the order of the file."""
        for sample in read_samples(json_lines(_FOLDER / "units.jsonl"), Columns()):
            if (sample.tags["unit"], sample.tags["split"]) == (self.unit, self.split):
                yield sample

    def prompt(self, sample: Sample) -> str:
        """Return the question with the usual instruction."""
        return format_question(sample.question)

    def score(self, sample: Sample, answer: str) -> Score:
        """Score by exact match."""
        return score_exact_match(sample, answer)
