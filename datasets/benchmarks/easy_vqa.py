"""easy-VQA (Zhou and Wang, 2020, https://victorzhou.com/blog/easy-vqa/): one shape, one colour.

Its pictures and questions are the contents of the package ``easy-vqa``, which is not imported. They
were made for classifiers over thirteen answers, so an answer is right if it is the target's class
and nothing else: one of the thirteen words, in whatever case, with or without a full stop behind
it. The authors prescribe no prompt; this one is LLaVA's for short answers.
"""

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from encodeonce.datasets.media.media import MediaRef
from encodeonce.datasets.options import LocalPath
from encodeonce.datasets.prompts import format_question
from encodeonce.datasets.readers.published import complete, json_rows, parse, require
from encodeonce.datasets.readers.questions import Row
from encodeonce.datasets.sample import About, BenchmarkError, Sample, Score

SHAPES = ("circle", "rectangle", "triangle")
COLOURS = ("black", "blue", "brown", "gray", "green", "red", "teal", "yellow")
ANSWERS = ("yes", "no", *SHAPES, *COLOURS)
"""The classes, as ``answers.txt`` of the package lists them."""

YES_OR_NO = "yes or no"
"""What tag ``asks`` says of questions whose answers are neither shapes nor colours."""

_PACKAGE = "easy_vqa"
_ENTRY = ("question", "answer", "image")


class _Question(BaseModel):
    model_config = ConfigDict(strict=True)

    question: str = Field(min_length=1)
    answer: str
    image: int = Field(ge=0)


class BENCHMARK(BaseModel):
    """The shape and the colour of the one thing in a small picture, and whether it is there."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    about: ClassVar[About] = About(
        title="easy-VQA: the shape and the colour of one thing in a small picture",
        media="images",
        source="https://victorzhou.com/blog/easy-vqa/",
        download=(
            "Type `pip install easy-vqa` (MIT, 3 MB), which brings pictures and questions, or have "
            "option `folder` name the package's folder `data`."
        ),
    )

    folder: LocalPath | None = Field(
        default=None,
        description="The folder with train/ and test/; by default that of the installed package.",
        examples=["/data/easy_vqa/data"],
    )
    split: Literal["test", "train"] = Field(
        default="test", description="The authors' figures are those of 'test', 9,673 questions."
    )

    @property
    def media_root(self) -> Path:
        """The package's folder of data.

        Raises:
            BenchmarkError: no folder is named, and the package is not installed.
        """
        if self.folder is not None:
            return self.folder
        found = importlib.util.find_spec(_PACKAGE)
        if found is None or not found.submodule_search_locations:
            raise BenchmarkError(f"the package easy-vqa is not installed. {self.about.download}")
        return Path(found.submodule_search_locations[0]) / "data"

    def samples(self) -> Iterator[Sample]:
        """Yield the split's questions in the order of the file.

        Raises:
            BenchmarkError: data are missing or not as published.
        """
        root = self.media_root
        path = require(root / self.split / "questions.json", self.about.download)
        placed = (
            (row.place, self._sample(number, _question(row)))
            for number, row in enumerate(json_rows(path))
        )
        yield from complete(placed, root, self.about.download)

    def prompt(self, sample: Sample) -> str:
        """Return the question and LLaVA's instruction for short answers."""
        return format_question(sample.question)

    def score(self, sample: Sample, answer: str) -> Score:
        """Score 1.0 if the answer is the target's class."""
        word = answer.strip().removesuffix(".").lower()
        extracted = word if word in ANSWERS else None
        return Score(value=float(extracted == sample.target), extracted=extracted)

    def _sample(self, number: int, question: _Question) -> Sample:
        return Sample(
            id=str(number),
            media=(MediaRef(kind="image", path=f"{self.split}/images/{question.image}.png"),),
            question=question.question,
            target=question.answer,
            group=str(question.image),
            tags={"asks": _asked(question.answer)},
        )


def _question(row: Row) -> _Question:
    """Return an entry of the file, a list of a question, its answer and its picture's number."""
    given: Any = row.content  # of most benchmarks a mapping, of this one a list
    if not isinstance(given, list) or len(given) != len(_ENTRY):
        raise BenchmarkError(
            f"{row.place}: expected a list of {', '.join(_ENTRY)}; got {given!r:.80}"
        )
    content = dict(zip(_ENTRY, given, strict=True))
    question = parse(Row(place=row.place, content=content), _Question)
    if question.answer not in ANSWERS:
        raise BenchmarkError(
            f"{row.place}: the answer {question.answer!r} is none of {', '.join(ANSWERS)}"
        )
    return question


def _asked(answer: str) -> str:
    if answer in SHAPES:
        return "shape"
    return "colour" if answer in COLOURS else YES_OR_NO
