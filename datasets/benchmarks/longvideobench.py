"""LongVideoBench (Wu et al., 2024, arXiv:2407.15754): questions that refer to a moment of a video.

The validation split, 1,337 questions; the test split's answers are not published.

The paper's protocol interleaves frames and subtitles: each subtitle follows the frame it belongs
to. A prompt here is a video and then a text, so that all questions on a video share its
prefill, and **cannot interleave**. With ``subtitles: frames`` the same subtitles are chosen (those
that cover a sampled frame, short ones widened to a second) but listed between the video and the
question: scores measured this way are not those of the interleaved protocol. Without subtitles, the
default, this is lmms-eval's ``longvideobench_val_v``, the authors' way for models that take videos.

Prompt and scorer as in that task, which the authors name for automatic evaluation.
"""

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import ClassVar, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

from encodeonce.datasets.media.media import MediaRef
from encodeonce.datasets.media.sampling import FrameSampling
from encodeonce.datasets.metrics.first_letter import score_first_letter
from encodeonce.datasets.options import LocalPath
from encodeonce.datasets.prompts import format_question
from encodeonce.datasets.readers.published import (
    FolderBenchmark,
    complete,
    json_rows,
    parse,
    require,
)
from encodeonce.datasets.readers.subtitles import (
    Subtitle,
    SubtitleChoice,
    Transcripts,
    read_timed_json,
)
from encodeonce.datasets.sample import About, BenchmarkError, Sample, Score

DurationGroup = Literal[15, 60, 600, 3600]


class _Row(BaseModel):
    model_config = ConfigDict(strict=True)

    id: str
    video_id: str
    video_path: str
    subtitle_path: str
    question: str
    candidates: list[str] = Field(min_length=2, max_length=5)
    correct_choice: int
    question_category: str
    topic_category: str
    duration_group: DurationGroup
    duration: float
    starting_timestamp_for_subtitles: float


class BENCHMARK(FolderBenchmark):
    """Videos of seconds to an hour, two to five options."""

    about: ClassVar[About] = About(
        title="LongVideoBench (validation): what happens at a moment the question refers to",
        media="videos",
        source="https://arxiv.org/abs/2407.15754",
        download=(
            "Download with `hf download longvideobench/LongVideoBench --repo-type dataset "
            "--local-dir LongVideoBench` (CC BY-NC-SA 4.0) and unpack there: "
            "`cat videos.tar.part.* | tar x` and `tar xf subtitles.tar`, which gives videos/ and "
            "subtitles/ beside lvb_val.json. Option `folder` is that folder."
        ),
        also=("longvideobench_val_v",),
    )

    folder: LocalPath = Field(
        description="The download, with lvb_val.json, videos/ and subtitles/ in it.",
        examples=["/data/LongVideoBench"],
    )
    duration_groups: tuple[DurationGroup, ...] = Field(
        default=get_args(DurationGroup),
        min_length=1,
        description="Only videos of these groups, named by their longest, in seconds: 8 to 15, 15 "
        "to 60, 180 to 600, 900 to 3600. The others need not be there.",
    )
    subtitles: SubtitleChoice = Field(
        default="none",
        description="'frames': those that cover a frame the model sees; 'full': all of them. "
        "They stand between video and question, not interleaved with frames as in the paper.",
    )
    frames: FrameSampling | None = Field(
        default=None,
        description="Frames whose subtitles are taken; by default the run file's `frames`.",
    )

    def samples(self) -> Iterator[Sample]:
        """Yield the questions in the order of lvb_val.json.

        Raises:
            BenchmarkError: data are missing or not as published.
        """
        placed = ((place, _sample(place, row)) for place, row in self._rows())
        yield from complete(placed, self.folder, self.about.download)

    def prompt(self, sample: Sample) -> str:
        """Return the question with its options, behind the subtitles asked for."""
        question = format_question(sample.question, sample.choices)
        video = self.folder / sample.media[0].path
        lines = self._transcripts.of(video, lambda: self._subtitles(sample.media[0].path))
        return f"{lines}\n{question}" if lines else question

    def score(self, sample: Sample, answer: str) -> Score:
        """Score the first capital letter of A to E."""
        return score_first_letter(sample, answer, "ABCDE")

    @cached_property
    def _transcripts(self) -> Transcripts:
        return Transcripts(self.subtitles, self.frames, chosen=covering)

    def _rows(self) -> Iterator[tuple[str, _Row]]:
        annotations = require(self.folder / "lvb_val.json", self.about.download)
        for row in json_rows(annotations):
            parsed = parse(row, _Row)
            if parsed.duration_group in self.duration_groups:
                yield row.place, parsed

    @cached_property
    def _rows_by_path(self) -> dict[str, _Row]:
        return {_path(row): row for _, row in self._rows()}

    def _subtitles(self, path: str) -> list[Subtitle]:
        row = self._rows_by_path[path]
        subtitles = read_timed_json(
            require(self.folder / "subtitles" / row.subtitle_path, self.about.download),
            offset_s=row.starting_timestamp_for_subtitles,
            duration_s=row.duration,
        )
        # A video cut from a longer one comes with the subtitles of the whole.
        return [one for one in subtitles if one.end_s > 0 and one.start_s < row.duration]


def _path(row: _Row) -> str:
    return f"videos/{row.video_path}"


def _sample(place: str, row: _Row) -> Sample:
    if not 0 <= row.correct_choice < len(row.candidates):
        raise BenchmarkError(
            f"{place}: correct_choice {row.correct_choice} is none of the {len(row.candidates)} "
            f"candidates, counted from 0"
        )
    return Sample(
        id=row.id,
        media=(MediaRef(kind="video", path=_path(row)),),
        question=row.question,
        choices=tuple(row.candidates),
        target=chr(ord("A") + row.correct_choice),
        group=row.video_id,
        tags={
            "duration_group": f"up to {row.duration_group} s",
            "question_category": row.question_category,
            "topic_category": row.topic_category,
        },
    )


def covering(subtitles: Sequence[Subtitle], times_s: Sequence[float]) -> list[str]:
    """Return the texts that the authors' loader puts between frames at these times.

    ``insert_subtitles_into_frames`` of github.com/longvideobench/LongVideoBench: a frame lies
    strictly within the subtitle, which lasts a second at least, around its middle.
    """
    found = []
    for subtitle in subtitles:
        middle_s = (subtitle.start_s + subtitle.end_s) / 2
        half_s = max(0.5, (subtitle.end_s - subtitle.start_s) / 2)
        if any(middle_s - half_s < time_s < middle_s + half_s for time_s in times_s):
            found.append(subtitle.text)
    return found
