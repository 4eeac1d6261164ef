"""GQA (Hudson and Manning, 2019, arXiv:1902.09506): short answers about scenes.

The scorer is the authors' ``eval.py``, which takes an answer for right if it is the same text, of
balanced questions only. Answers are brought into the form that it expects as LLaVA does
(scripts/convert_gqa_for_eval.py): in lower case, without a full stop at the end. The prompt is
LLaVA's too; the authors prescribe none.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field

from encodeonce.datasets.media.media import MediaRef
from encodeonce.datasets.options import LocalPath
from encodeonce.datasets.prompts import format_question
from encodeonce.datasets.readers.json_object import json_object
from encodeonce.datasets.readers.published import complete, parse, require
from encodeonce.datasets.readers.questions import Row
from encodeonce.datasets.sample import About, Sample, Score, Scored


class _Types(BaseModel):
    model_config = ConfigDict(strict=True)

    structural: str
    semantic: str


class _Question(BaseModel):
    model_config = ConfigDict(strict=True)

    imageId: str = Field(min_length=1)
    question: str = Field(min_length=1)
    answer: str = Field(min_length=1)
    isBalanced: bool
    types: _Types


class BENCHMARK(BaseModel):
    """Objects, attributes and relations; yes or no, one of two, or an open answer."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    about: ClassVar[About] = About(
        title="GQA (test-dev, balanced): objects, attributes and relations; short answers",
        media="images",
        source="https://arxiv.org/abs/1902.09506",
        download=(
            "Download questions1.2.zip and images.zip from "
            "https://cs.stanford.edu/people/dorarad/gqa/download.html (CC BY 4.0) and unpack them. "
            "Option `file` is testdev_balanced_questions.json, option `images` the folder with "
            "n161313.jpg and the others."
        ),
        also=("GQA_TestDev_Balanced",),
    )

    file: LocalPath = Field(
        description="testdev_balanced_questions.json, or another split's.",
        examples=["/data/gqa/testdev_balanced_questions.json"],
    )
    images: LocalPath = Field(description="The folder of pictures.", examples=["/data/gqa/images"])

    @property
    def media_root(self) -> Path:
        """The folder of pictures."""
        return self.images

    def samples(self) -> Iterator[Sample]:
        """Yield the balanced questions in the order of the file.

        Raises:
            BenchmarkError: data are missing or not as published.
        """
        path = require(self.file, self.about.download)
        rows = [
            (name, Row(place=f"{path}, question {name}", content=content))
            for name, content in json_object(path).items()
        ]
        parsed = [(name, row.place, parse(row, _Question)) for name, row in rows]
        placed = (
            (place, _sample(name, question))
            for name, place, question in parsed
            if question.isBalanced
        )
        yield from complete(placed, self.images, self.about.download)

    def prompt(self, sample: Sample) -> str:
        """Return the question and LLaVA's instruction for short answers."""
        return format_question(sample.question)

    def score(self, sample: Sample, answer: str) -> Score:
        """Score 1.0 if the answer is the target."""
        extracted = _plain(answer) or None
        return Score(value=float(extracted == sample.target), extracted=extracted)

    def official_files(self, scored: Sequence[Scored]) -> Mapping[str, str]:
        """Return the predictions that ``eval.py`` reads."""
        answers = [
            {"questionId": answer.sample, "prediction": _plain(answer.text)} for answer in scored
        ]
        return {"predictions.json": json.dumps(answers, ensure_ascii=False) + "\n"}


def _sample(name: str, question: _Question) -> Sample:
    structural = question.types.structural
    return Sample(
        id=name,
        media=(MediaRef(kind="image", path=f"{question.imageId}.jpg"),),
        question=question.question,
        target=question.answer,
        group=question.imageId,
        tags={
            "answer": "open" if structural == "query" else "binary",
            "structural": structural,
            "semantic": question.types.semantic,
        },
    )


def _plain(text: str) -> str:
    return text.strip().rstrip(".").lower()
