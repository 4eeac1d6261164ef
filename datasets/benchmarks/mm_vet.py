"""MM-Vet (Yu et al., 2023, arXiv:2308.02490): 218 open questions that need several capabilities.

Its score is given by GPT-4, which compares the answer with the published one. With a section
`judge` in the run file an OpenAI-compatible model does that (`rubrics/correctness.py`). Without
one, what is computed is the share of the target that the answer holds, word for word
(`elements_held`): a lower bound for short targets, next to nothing for those that explain.
`official_files` writes what ``mm-vet_evaluator.py`` of github.com/yuweihao/MM-Vet takes, which has
the answers judged.

The question is asked as it is, as the authors do. For ``scoring: nll`` the target is the published
answer as it stands, with its ``<AND>`` and ``<OR>``, as PrefixKV (arXiv:2412.03409) measured it.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field

from encodeonce.datasets.media.media import MediaRef
from encodeonce.datasets.metrics.elements import elements_held
from encodeonce.datasets.metrics.exact_match import normalise
from encodeonce.datasets.options import LocalPath
from encodeonce.datasets.readers.json_object import json_object
from encodeonce.datasets.readers.published import complete, parse, require
from encodeonce.datasets.readers.questions import Row
from encodeonce.datasets.rubric import Judged, Rubric
from encodeonce.datasets.rubrics.correctness import CORRECTNESS
from encodeonce.datasets.sample import About, Sample, Score, Scored


class _Question(BaseModel):
    model_config = ConfigDict(strict=True)

    imagename: str = Field(min_length=1)
    question: str = Field(min_length=1)
    answer: str = Field(min_length=1)
    capability: list[str] = Field(min_length=1)


class BENCHMARK(BaseModel):
    """Recognition, knowledge, OCR, spatial awareness, language generation and mathematics."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    measure: ClassVar[str] = "target held (not the MM-Vet score)"
    judged_measure: ClassVar[str] = "judged correctness"
    rubric: ClassVar[Rubric] = CORRECTNESS
    about: ClassVar[About] = About(
        title="MM-Vet: open questions that need several capabilities at once",
        media="images",
        source="https://arxiv.org/abs/2308.02490",
        download=(
            "Download https://github.com/yuweihao/MM-Vet/releases/download/v1/mm-vet.zip "
            "(CC BY-NC 4.0) and unpack it. Option `folder` is the folder mm-vet in it, which holds "
            "mm-vet.json and images/."
        ),
    )

    folder: LocalPath = Field(
        description="The folder with mm-vet.json and images/.", examples=["/data/mm-vet"]
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
        path = require(self.folder / "mm-vet.json", self.about.download)
        rows = [
            (name, Row(place=f"{path}, {name}", content=content))
            for name, content in json_object(path).items()
        ]
        placed = ((row.place, _sample(name, row)) for name, row in rows)
        yield from complete(placed, self.media_root, self.about.download)

    def prompt(self, sample: Sample) -> str:
        """Return the question alone."""
        return sample.question

    def score(self, sample: Sample, answer: str) -> Score:
        """Score the share of the target's elements that the answer holds."""
        held = elements_held(sample.target, answer)
        return Score(value=held, extracted=normalise(answer) or None)

    def summarise(self, scored: Sequence[Scored]) -> Mapping[str, float]:
        """Return the share for each capability that a question needs, among others or alone."""
        held = _by_capability((answer.tags, answer.value) for answer in scored)
        return {f"target held, %, questions that need {name}": mean for name, mean in held.items()}

    def judged_texts(self, sample: Sample, answer: str) -> Mapping[str, str]:
        """Return the question, the published answer and the model's."""
        return {"question": sample.question, "reference": sample.target, "answer": answer}

    def summarise_verdicts(self, judged: Sequence[Judged]) -> Mapping[str, float]:
        """Return 100 times the mean grade: of all questions, and for each capability needed."""
        grades = _by_capability((one.tags, one.verdict.value) for one in judged)
        total = 100 * sum(one.verdict.value for one in judged) / len(judged)
        return {"total": total} | {f"questions that need {name}": x for name, x in grades.items()}

    def official_files(self, scored: Sequence[Scored]) -> Mapping[str, str]:
        """Return the answers by question, for ``mm-vet_evaluator.py --result_file``."""
        answers = {answer.sample: answer.text for answer in scored}
        return {"mm-vet.json": json.dumps(answers, indent=4, ensure_ascii=False) + "\n"}


def _by_capability(values: Iterable[tuple[Mapping[str, str], float]]) -> dict[str, float]:
    """Return the mean, in percent, of the questions that need each capability."""
    found: dict[str, list[float]] = {}
    for tags, value in values:
        for capability in tags["capabilities"].split(", "):
            found.setdefault(capability, []).append(value)
    return {name: 100 * sum(some) / len(some) for name, some in sorted(found.items())}


def _sample(name: str, row: Row) -> Sample:
    question = parse(row, _Question)
    return Sample(
        id=name,
        media=(MediaRef(kind="image", path=question.imagename),),
        question=question.question,
        target=question.answer,
        group=question.imagename,
        tags={"capabilities": ", ".join(sorted(question.capability))},
    )
