"""MLVU (Zhou et al., 2024, arXiv:2406.04264), dev set: the seven tasks with options.

2,175 questions on videos of 3 minutes to 2 hours. The other two tasks of the dev set (sub-scene
captioning, video summary) take free texts, which the authors have a GPT model judge: they are left
out here, and so is the test set.

Prompt and scorer are those of github.com/JUNJIE99/MLVU, ``choice_bench.py``. It begins the model's
own turn with "Best Option: ("; a chat template leaves no room for that, so the prompt ends with it,
as in lmms-eval.

The published files have flaws, which are kept: an option listed twice counts by its last letter;
a question whose answer is not among its options cannot be answered right; one question is empty.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

from encodeonce.datasets.media.media import MediaRef
from encodeonce.datasets.metrics.multiple_choice import score_choice
from encodeonce.datasets.options import LocalPath
from encodeonce.datasets.prompts import lettered
from encodeonce.datasets.readers.published import (
    FolderBenchmark,
    complete,
    json_rows,
    parse,
    require,
)
from encodeonce.datasets.readers.questions import Row
from encodeonce.datasets.sample import About, Sample, Score, Scored

Task = Literal["plotQA", "needle", "ego", "count", "order", "anomaly_reco", "topic_reasoning"]

_SYSTEM = (
    "Carefully watch this video and pay attention to every detail. Based on your observations, "
    "select the best option that accurately addresses the question."
)
NO_OPTION = "none of the options"
"""Target of a question whose answer is not among its options."""


class _Row(BaseModel):
    model_config = ConfigDict(strict=True)

    video: str
    question: str
    candidates: list[str] = Field(min_length=2, max_length=26)
    answer: str


class BENCHMARK(FolderBenchmark):
    """Long videos: holistic, single-detail and multi-detail tasks."""

    measure: ClassVar[str] = "accuracy"
    about: ClassVar[About] = About(
        title="MLVU (dev): seven tasks on videos of minutes to hours, four options",
        media="videos",
        source="https://arxiv.org/abs/2406.04264",
        download=(
            "Download with `hf download MLVU/MVLU --repo-type dataset --local-dir MVLU` (CC "
            "BY-NC-SA 4.0, after asking for access), which gives MLVU/json/*.json and "
            "MLVU/video/1_plotQA/*.mp4 and so on. Option `folder` is MVLU/MLVU."
        ),
        also=("mlvu_dev", "MLVU_MCQ"),
    )

    folder: LocalPath = Field(
        description="The folder MLVU of the download, with json/ and video/ in it.",
        examples=["/data/MVLU/MLVU"],
    )
    tasks: tuple[Task, ...] = Field(
        default=get_args(Task),
        min_length=1,
        description="Only these tasks. The data of the others need not be there.",
    )

    def samples(self) -> Iterator[Sample]:
        """Yield the questions, task by task, in the order of the files.

        Raises:
            BenchmarkError: data are missing or not as published.
        """
        placed = (pair for task in self.tasks for pair in self._task(task))
        yield from complete(placed, self.folder, self.about.download)

    def prompt(self, sample: Sample) -> str:
        """Return the authors' prompt."""
        options = lettered(sample.choices, "({letter}) {text}")
        lines = [_SYSTEM, f"Question: {sample.question}", "Options:", *options]
        return "\n".join([*lines, "Only give the best option.", "Best Option: ("])

    def score(self, sample: Sample, answer: str) -> Score:
        """Score the letter before the first ``)``, or the letter alone, as the authors do.

        An answer of another form, which the authors' script counts as wrong, is read by
        `score_choice`, as VLMEvalKit reads it by matching options: ``A.``, ``The answer is B``.
        """
        letters = [chr(ord("A") + position) for position in range(len(sample.choices))]
        before, bracket, _ = answer.strip().partition(")")
        extracted: str | None = before[-1:] if bracket else before
        if extracted not in letters:
            # Where an option is an empty text, an empty answer would be that option.
            says_something = any(map(str.isalnum, answer))
            extracted = score_choice(sample, answer).extracted if says_something else None
        return Score(value=float(extracted == sample.target), extracted=extracted)

    def summarise(self, scored: Sequence[Scored]) -> Mapping[str, float]:
        """Return M-Avg: the mean of the tasks' accuracies, however many questions each has."""
        by_task: dict[str, list[float]] = {}
        for answer in scored:
            by_task.setdefault(answer.tags["task"], []).append(answer.value)
        means = [sum(values) / len(values) for values in by_task.values()]
        if not means:
            return {}
        name = "M-Avg" if len(means) == len(get_args(Task)) else f"mean of {len(means)} tasks"
        return {f"{name}, %": 100 * sum(means) / len(means)}

    def _task(self, task: Task) -> Iterator[tuple[str, Sample]]:
        name = f"{get_args(Task).index(task) + 1}_{task}"
        path = require(self.folder / "json" / f"{name}.json", self.about.download)
        for number, row in enumerate(json_rows(path)):
            yield row.place, _sample(f"{task}-{number}", task, f"video/{name}", row)


def _sample(name: str, task: Task, folder: str, place: Row) -> Sample:
    row = parse(place, _Row)
    places = [position for position, text in enumerate(row.candidates) if text == row.answer]
    path = f"{folder}/{row.video}"
    return Sample(
        id=name,
        media=(MediaRef(kind="video", path=path),),
        question=row.question,
        choices=tuple(row.candidates),
        target=chr(ord("A") + places[-1]) if places else NO_OPTION,
        group=path,
        tags={"task": task},
    )
