"""Video-MME (Fu et al., 2024, arXiv:2405.21075): 2,700 questions on 900 videos, four options each.

Prompt and scorer are those of github.com/BradyFU/Video-MME (README, "Evaluation Pipeline") and its
``eval_your_results.py``; lmms-eval asks the same questions in other words. Without subtitles,
everything about subtitles is left out of the prompt.

Subtitles of the frames: the authors ask for those on screen when the sampled frames are. As in
lmms-eval, a subtitle is taken if a frame lies in [start, end), once, however many frames do, and a
video without subtitles (156 of 900) is asked with the words "No subtitles available". lmms-eval
takes the number of frames for this from its task file, whatever the model is shown; here it is the
run's `frames`.
"""

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import ClassVar, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

from encodeonce.datasets.media.media import MediaRef
from encodeonce.datasets.media.sampling import FrameSampling
from encodeonce.datasets.metrics.first_letter import score_first_letter
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
from encodeonce.datasets.readers.subtitles import Subtitle, SubtitleChoice, Transcripts, read_srt
from encodeonce.datasets.sample import About, Sample, Score

Duration = Literal["short", "medium", "long"]

_TABLE = "videomme/test-00000-of-00001.parquet"
# `data` is the name in the archives, `video` the one VLMEvalKit unpacks them to.
_VIDEO_FOLDERS = ("data", "video")
_SUFFIXES = (".mp4", ".MP4", ".mkv")
_INSTRUCTION = (
    "Select the best answer to the following multiple-choice question based on the video. "
    "Respond with only the letter (A, B, C, or D) of the correct option."
)


class _Row(BaseModel):
    model_config = ConfigDict(strict=True)

    question_id: str
    videoID: str
    duration: Duration
    domain: str
    sub_category: str
    task_type: str
    question: str
    options: list[str] = Field(min_length=4, max_length=4)
    answer: str


class BENCHMARK(FolderBenchmark):
    """Videos of 11 seconds to an hour, with or without subtitles."""

    about: ClassVar[About] = About(
        title="Video-MME: short, medium and long videos of all kinds, four options",
        media="videos",
        source="https://arxiv.org/abs/2405.21075",
        download=(
            "Download with `hf download lmms-lab/Video-MME --repo-type dataset --local-dir "
            "Video-MME` (100 GB; academic research only) and unpack all videos_chunked_*.zip "
            "and subtitle.zip there, which gives data/*.mp4 and subtitle/*.srt beside "
            "videomme/*.parquet. Option `folder` is that folder."
        ),
    )

    folder: LocalPath = Field(
        description="The download, with videomme/, data/ and subtitle/ in it.",
        examples=["/data/Video-MME"],
    )
    durations: tuple[Duration, ...] = Field(
        default=get_args(Duration),
        min_length=1,
        description="Only videos of these lengths: short (under 2 min), medium (4 to 15 min), long "
        "(30 to 60 min). The others need not be there.",
    )
    subtitles: SubtitleChoice = Field(
        default="none",
        description="'frames': those on screen at the frames the model sees, the authors' setting "
        "\"with subtitles\"; 'full': all of them.",
    )
    frames: FrameSampling | None = Field(
        default=None,
        description="Frames whose subtitles are taken; by default the run file's `frames`.",
    )

    def samples(self) -> Iterator[Sample]:
        """Yield the questions in the order of the table.

        Raises:
            BenchmarkError: data are missing or not as published.
        """
        table = require(self.folder / _TABLE, self.about.download)
        videos = self._videos()
        placed = (
            (row.place, sample)
            for row in parquet_rows(table, _Row)
            if (sample := _sample(row, videos)).tags["duration"] in self.durations
        )
        yield from complete(placed, self.folder, self.about.download)

    def prompt(self, sample: Sample) -> str:
        """Return the authors' prompt, with the subtitles asked for."""
        question = "\n".join([_INSTRUCTION, sample.question, *lettered(sample.choices)])
        if self.subtitles == "none":
            return f"{question}\nThe best answer is:"
        video = self.folder / sample.media[0].path
        lines = self._transcripts.of(video, lambda: self._subtitles(video.stem))
        if lines is None:
            lines = "No subtitles available"
        return f"This video's subtitles are listed below:\n{lines}\n{question}\nThe best answer is:"

    def score(self, sample: Sample, answer: str) -> Score:
        """Score the first capital letter of A to D."""
        return score_first_letter(sample, answer, "ABCD")

    @cached_property
    def _transcripts(self) -> Transcripts:
        return Transcripts(self.subtitles, self.frames)

    def _subtitles(self, video_id: str) -> tuple[Subtitle, ...] | None:
        folder = require(self.folder / "subtitle", self.about.download)
        path = folder / f"{video_id}.srt"
        return read_srt(path) if path.exists() else None

    def _videos(self) -> dict[str, str]:
        """Return the paths of the videos that are there, by id."""
        return {
            path.stem: f"{folder}/{path.name}"
            for folder in _VIDEO_FOLDERS
            if (self.folder / folder).is_dir()
            for path in (self.folder / folder).iterdir()
            if path.suffix in _SUFFIXES
        }


def _sample(place: Row, videos: Mapping[str, str]) -> Sample:
    row = parse(place, _Row)
    choices = without_letters(row.options)
    return Sample(
        id=row.question_id,
        media=(MediaRef(kind="video", path=videos.get(row.videoID, f"data/{row.videoID}.mp4")),),
        question=row.question,
        choices=choices,
        target=letter_target(place.place, row.answer, choices),
        group=row.videoID,
        tags={
            "duration": row.duration,
            "domain": row.domain,
            "sub_category": row.sub_category,
            "task_type": row.task_type,
        },
    )
