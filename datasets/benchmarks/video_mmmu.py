"""Video-MMMU (Hu et al., 2025, arXiv:2501.13826): what is learned from 300 lectures.

Three questions on each video, one per track: perception, comprehension, adaptation. Prompts and
scorer are those of github.com/EvolvingLMMs-Lab/VideoMMMU, the same as in lmms-eval. A question of
the adaptation track is about a picture, which the published videos show as their last frame: it is
seen only if the run samples the last frame, so other policies are refused for that track.
``<image 1>`` stays in the question's text as published.

The fourth track here, ``question_only``, is adaptation without the lecture: two seconds of the
picture. With both in a run, Δknowledge is reported, (after - before) / (1 - before).

An answer can be long, the authors allow 1,024 tokens: ``generation: {max_new_tokens: 1024}``.
Whether a question has options is read off its options: the type of one row is null.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from encodeonce.datasets.media.media import MediaRef
from encodeonce.datasets.media.sampling import FrameSampling, UniformInclusive
from encodeonce.datasets.metrics.mmmu import is_open_match, read_choice
from encodeonce.datasets.options import LocalPath
from encodeonce.datasets.prompts import lettered
from encodeonce.datasets.readers.published import (
    FolderBenchmark,
    complete,
    letter_target,
    parquet_rows,
    parse,
    require,
    without_letters,
)
from encodeonce.datasets.readers.questions import Row
from encodeonce.datasets.sample import About, BenchmarkError, Sample, Score, Scored

Track = Literal["perception", "comprehension", "adaptation", "question_only"]

_LECTURES: tuple[Track, ...] = ("perception", "comprehension", "adaptation")
_TABLES: Mapping[Track, str] = {
    "perception": "Perception",
    "comprehension": "Comprehension",
    "adaptation": "Adaptation",
    "question_only": "Adaptation",
}
_SUBJECTS: Mapping[str, tuple[str, ...]] = {
    "Art": ("Art", "Art_Theory", "Design", "Music"),
    "Business": ("Accounting", "Economics", "Finance", "Manage", "Marketing"),
    "Engineering": (
        *("Agriculture", "Architecture_and_Engineering", "Computer_Science", "Electronics"),
        *("Energy_and_Power", "Materials", "Mechanical_Engineering"),
    ),
    "Humanities": ("History", "Literature", "Psychology", "Sociology"),
    "Medicine": (
        *("Basic_Medical_Science", "Clinical_Medicine", "Diagnostics_and_Laboratory_Medicine"),
        *("Pharmacy", "Public_Health"),
    ),
    "Science": ("Biology", "Chemistry", "Geography", "Math", "Physics"),
}
_IGNORE_QUIZ = "Please ignore the Quiz question in last frame of the video."
_APPLY = (
    "You should watch and learn the video content. Then apply what you learned to answer the "
    "following {kind} question. The image for this question is at the end of the video."
)


class _Row(BaseModel):
    model_config = ConfigDict(strict=True)

    id: str = Field(pattern=r"^[^_]+_.+_\d+$")
    question: str = Field(min_length=1)
    options: list[str] = Field(max_length=26)
    answer: str = Field(min_length=1)


class BENCHMARK(FolderBenchmark):
    """Lectures of six disciplines; up to fourteen options, a few free answers."""

    measure: ClassVar[str] = "accuracy"
    about: ClassVar[About] = About(
        title="Video-MMMU: perceive, comprehend and apply what a lecture teaches",
        media="videos",
        source="https://arxiv.org/abs/2501.13826",
        download=(
            "Download with `hf download lmms-lab/VideoMMMU --repo-type dataset --local-dir "
            "VideoMMMU` (14 GB, after accepting the conditions) and unpack all *.zip there, which "
            "gives Art/*.mp4 and so on, and question_only/*.mp4, beside Perception/, "
            "Comprehension/ and Adaptation/ with the questions. Option `folder` is that folder."
        ),
    )

    folder: LocalPath = Field(
        description="The download, its archives unpacked in it.", examples=["/data/VideoMMMU"]
    )
    tracks: tuple[Track, ...] = Field(
        default=_LECTURES,
        min_length=1,
        description="Which questions; 'question_only' asks adaptation's without the lecture, which "
        "Δknowledge compares with.",
    )
    frames: FrameSampling | None = Field(
        default=None,
        description="Frames that the model sees; by default the run file's `frames`.",
    )

    def samples(self) -> Iterator[Sample]:
        """Yield the questions, track by track, in the order of the tables.

        Raises:
            BenchmarkError: data are missing or not as published, or the picture of the adaptation
                track would not be seen.
        """
        if "adaptation" in self.tracks and self.frames is not None:
            _require_last_frame(self.frames)
        placed = (pair for track in self.tracks for pair in self._track(track))
        yield from complete(placed, self.folder, self.about.download)

    def prompt(self, sample: Sample) -> str:
        """Return the prompt of the sample's track."""
        question = [sample.question, *lettered(sample.choices)]
        if sample.tags["track"] == "question_only":
            return "\n".join(question)
        if sample.tags["track"] != "adaptation":
            return "\n".join([*question, _IGNORE_QUIZ])
        kind = "multi-choice" if sample.choices else "open-ended"
        return "\n".join([_APPLY.format(kind=kind), *question])

    def score(self, sample: Sample, answer: str) -> Score:
        """Score as MMMU does: the option named last, or the target within a free answer."""
        if sample.choices:
            extracted = read_choice(answer, sample.choices)
            return Score(value=float(extracted == sample.target), extracted=extracted)
        matches = is_open_match(answer, sample.target)
        return Score(value=float(matches), extracted=answer or None)

    def summarise(self, scored: Sequence[Scored]) -> Mapping[str, float]:
        """Return Δknowledge and the accuracy over the paper's tracks, if question_only was asked.

        Without it, that accuracy is the mean score, and there is nothing to compare with.
        """
        by_track: dict[str, list[float]] = {}
        for answer in scored:
            by_track.setdefault(answer.tags["track"], []).append(answer.value)
        before = _mean(by_track.pop("question_only", []))
        overall = _mean([value for values in by_track.values() for value in values])
        after = _mean(by_track.get("adaptation", []))
        figures = {}
        if before is not None and overall is not None:
            figures["accuracy without question_only, %"] = 100 * overall
        if before is not None and after is not None and before < 1:
            figures["Δknowledge, %"] = 100 * (after - before) / (1 - before)
        return figures

    def _track(self, track: Track) -> Iterator[tuple[str, Sample]]:
        name = f"{_TABLES[track]}/test-00000-of-00001.parquet"
        table = require(self.folder / name, self.about.download)
        # VLMEvalKit unpacks the archives into videos/.
        root = "videos/" if (self.folder / "videos").is_dir() else ""
        for place in parquet_rows(table, _Row):
            yield place.place, _sample(track, root, place)


def _sample(track: Track, root: str, place: Row) -> Sample:
    row = parse(place, _Row)
    choices = without_letters(row.options)
    subject = "_".join(row.id.split("_")[1:-1])
    discipline = _discipline(place.place, subject)
    path = f"{discipline}/{row.id}.mp4"
    if track == "question_only":
        path = f"question_only/{row.id}_image.mp4"
    return Sample(
        id=f"{track}/{row.id}",
        media=(MediaRef(kind="video", path=f"{root}{path}"),),
        question=row.question,
        choices=choices,
        target=letter_target(place.place, row.answer, choices) if choices else row.answer,
        group=row.id,
        tags={"track": track, "discipline": discipline, "subject": subject},
    )


def _discipline(place: str, subject: str) -> str:
    for discipline, subjects in _SUBJECTS.items():
        if subject in subjects:
            return discipline
    raise BenchmarkError(
        f"{place}: the id names the subject {subject!r}; known: "
        f"{', '.join(name for subjects in _SUBJECTS.values() for name in subjects)}"
    )


def _require_last_frame(frames: FrameSampling) -> None:
    if not isinstance(frames, UniformInclusive) or frames.num_frames < 2:
        raise BenchmarkError(
            f"the picture that a question of the track 'adaptation' is about is the video's last "
            f"frame, which frames {frames.model_dump(exclude_none=True)} need not show; use e.g. "
            f"frames: {{policy: uniform_inclusive, num_frames: 32}}"
        )


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
