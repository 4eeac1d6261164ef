"""A needle in a haystack of frames, made here of videos of yours.

Into one frame of a clip of real frames a coloured label with a short text is pasted, and the
question asks what is written on it: the visual form (V-NIAH of LongVA, arXiv 2406.16852) of the
needle-in-a-haystack test of long contexts (G. Kamradt, 2023). The report shows how often it is
found, by the needle's depth and the clip's length, under each KV-cache setting and weight variant.

With several needles, each has a colour of its own and a question of its own, all about one clip, as
in the multi-key task of RULER (arXiv 2404.06654).

Free answers are scored by exact match, after VQA's normalisation; with options, of which the other
needles' texts come first, by the letter. Each letter is right equally often in four repeats.

Clips are made when they are first asked for, and are named by the digest of what they show: every
later run finds them in the folder, and more lengths, depths or repeats leave those that are there
alone. The same seed asks the same questions everywhere; clips have the same bytes under the same
versions of Pillow and PyAV.
"""

import random
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from encodeonce.datasets.media.info import MediaInfo
from encodeonce.datasets.media.ledger import Ledger
from encodeonce.datasets.media.media import MediaRef
from encodeonce.datasets.media.sampling import FrameSampling
from encodeonce.datasets.metrics.exact_match import score_exact_match
from encodeonce.datasets.metrics.multiple_choice import score_choice
from encodeonce.datasets.needle.clip import FPS, Clip, Needle, make_clip
from encodeonce.datasets.needle.facts import NUM_CHOICES, Kind, ask, draw_choices, draw_values
from encodeonce.datasets.needle.haystack import Haystack, draw_start
from encodeonce.datasets.needle.label import COLOURS, Label
from encodeonce.datasets.options import LocalPath
from encodeonce.datasets.prompts import format_question
from encodeonce.datasets.sample import About, BenchmarkError, Sample, Score

_DEMO_CLIPS = Path(__file__).parent.parent / "demo" / "clips"

_Length = Annotated[int, Field(ge=1, le=1_000_000)]
_Depth = Annotated[float, Field(ge=0, le=1)]
_Side = Annotated[int, Field(ge=16, le=8192, multiple_of=2)]


class BENCHMARK(BaseModel):
    """What is written on a label in one frame of a long clip."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    about: ClassVar[About] = About(
        title="Needle in a haystack: what is written in one frame of a long clip",
        media="videos",
        source="made here; after V-NIAH, https://arxiv.org/abs/2406.16852",
        download=(
            "Nothing to download: clips are made of `videos`, which may be any, and are kept in "
            "`folder`. The run's `frames` must show every frame of the longest clip."
        ),
    )
    grid: ClassVar[tuple[str, str]] = ("depth", "frames")

    folder: LocalPath = Field(
        description="Where the clips are kept; made if it is not there.", examples=["needle-clips"]
    )
    videos: Annotated[tuple[LocalPath, ...], Field(min_length=1)] | None = Field(
        default=None,
        description="Videos, and folders of videos, whose frames are the haystack; by default the "
        "demo's clips.",
    )
    kind: Kind = Field(
        default="number", description="What labels say: a word, a number of four digits, a digit."
    )
    lengths: tuple[_Length, ...] = Field(
        default=(8, 16, 32, 64), min_length=1, description="Frames of the clips."
    )
    depths: tuple[_Depth, ...] = Field(
        default=(0.0, 0.25, 0.5, 0.75, 1.0),
        min_length=1,
        description="Where needles are: 0 is a clip's first frame, 1 its last.",
    )
    needles: int = Field(
        default=1,
        ge=1,
        le=len(COLOURS),
        description="Labels in each clip, in different frames; the depths are dealt out to them.",
    )
    repeats: int = Field(
        default=4,
        ge=1,
        le=1000,
        description="Questions for each length and depth; each has other needles.",
    )
    form: Literal["free", "choice"] = Field(
        default="free", description="'choice' gives four options. Both forms ask about one clip."
    )
    seed: int = Field(default=0, ge=0, description="Another seed gives other needles and frames.")
    every_s: float = Field(
        default=1.0,
        gt=0,
        allow_inf_nan=False,
        description="Seconds of the videos from one frame of a clip to the next.",
    )
    size_px: tuple[_Side, _Side] | None = Field(
        default=None,
        description="Width and height of the clips, even; by default those of the first video.",
    )
    label_height: float = Field(
        default=0.2, gt=0, le=0.5, description="Height of a label, as a fraction of the frame's."
    )
    frames: FrameSampling | None = Field(
        default=None,
        description="Frames that the model sees; by default the run file's `frames`.",
    )

    @model_validator(mode="after")
    def _can_be_made(self) -> "BENCHMARK":
        _require_different("lengths", list(map(str, self.lengths)))
        _require_different("depths", list(map(_percent, self.depths)))
        if len(self.depths) % self.needles:
            raise ValueError(
                f"needles: the {len(self.depths)} depths cannot be dealt out evenly to clips of "
                f"{self.needles} needles; use a number that divides {len(self.depths)}"
            )
        if self.folder.resolve() in (path.resolve() for path in self.videos or ()):
            raise ValueError(
                f"folder: {self.folder} is one of the videos' folders, too, and clips made now "
                "would be taken for videos by the next run; use another folder for the clips"
            )
        for length in self.lengths:
            for depths in self._deals:
                _require_different_frames(length, depths)
        return self

    @property
    def media_root(self) -> Path:
        """The folder of the clips."""
        return self.folder

    def samples(self) -> Iterator[Sample]:
        """Yield the questions, length by length; make the clips that are not there.

        Raises:
            BenchmarkError: the model would not see every frame, or a clip cannot be made.
        """
        self._require_all_frames()
        for length in self.lengths:
            for depths in self._deals:
                for repeat in range(self.repeats):
                    yield from self._about_clip(length, depths, repeat)

    def prompt(self, sample: Sample) -> str:
        """Return the question with its options and the usual instruction."""
        return format_question(sample.question, sample.choices)

    def score(self, sample: Sample, answer: str) -> Score:
        """Score by the option's letter where there are options, else by exact match."""
        return score_choice(sample, answer) if sample.choices else score_exact_match(sample, answer)

    @property
    def _deals(self) -> list[tuple[float, ...]]:
        """The depths of each clip's needles, as far apart as can be."""
        step = len(self.depths) // self.needles
        return [self.depths[first::step] for first in range(step)]

    @cached_property
    def _haystack(self) -> Haystack:
        videos = self.videos or (_DEMO_CLIPS,)
        return Haystack(videos, self.every_s, Ledger(self.folder / "sources.jsonl"))

    def _about_clip(self, length: int, depths: Sequence[float], repeat: int) -> Iterator[Sample]:
        # The frames do not depend on the depths: those of one column of the heat map are compared
        # within the same haystacks.
        start = draw_start(random.Random(f"start {self.seed} {length} {repeat}"))
        rng = random.Random(f"{self.seed} {length} {repeat} {self.kind} {depths}")
        values = draw_values(rng, self.kind, self.needles)
        colours = rng.sample(list(COLOURS), self.needles)
        places = [(round(rng.random(), 3), round(rng.random(), 3)) for _ in depths]
        needles = tuple(
            Needle(frame=_frame(length, depth), label=Label(colour=colour, text=value, x=x, y=y))
            for depth, colour, value, (x, y) in zip(depths, colours, values, places, strict=True)
        )
        clip = Clip(
            length=length,
            start=start,
            every_s=self.every_s,
            size_px=self.size_px,
            label_height=self.label_height,
            needles=needles,
        )
        path = make_clip(clip, self._haystack, self.folder)
        for depth, needle in zip(depths, needles, strict=True):
            others = [value for value in values if value != needle.label.text]
            yield self._sample(path, length, depth, repeat, needle.label, others)

    def _sample(
        self, path: str, length: int, depth: float, repeat: int, label: Label, others: list[str]
    ) -> Sample:
        choices: tuple[str, ...] = ()
        target = label.text
        if self.form == "choice":
            rng = random.Random(f"choices {self.seed} {length} {depth} {repeat}")
            position = (_first_position(self.seed, length, depth) + repeat) % NUM_CHOICES
            choices = draw_choices(rng, self.kind, label.text, others, position)
            target = chr(ord("A") + position)
        at = _percent(depth)
        return Sample(
            id=f"{length} frames, {at}, {repeat}",
            media=(MediaRef(kind="video", path=path),),
            question=ask(self.kind, label.colour),
            choices=choices,
            target=target,
            group=path.removesuffix(".mp4"),
            tags={"depth": at, "frames": str(length)},
        )

    def _require_all_frames(self) -> None:
        for length in self.lengths if self.frames is not None else ():
            assert self.frames is not None
            seen = len(self.frames.indices(_info(length), None))
            if seen < length:
                raise BenchmarkError(
                    f"lengths: of a clip of {length} frames the model would see {seen} under "
                    f"frames {self.frames.model_dump(exclude_none=True)}, and needles could be in "
                    f"the others; use `frames: {{policy: uniform_inclusive, num_frames: "
                    f"{max(self.lengths)}}}` or shorter `lengths`"
                )


def _percent(depth: float) -> str:
    return f"{100 * depth:g} %"


def _require_different(name: str, words: Sequence[str]) -> None:
    for word in words:
        if words.count(word) > 1:
            raise ValueError(f"{name}: {word} is there {words.count(word)} times; once is enough")


def _frame(length: int, depth: float) -> int:
    """Return the frame at a depth; halves are rounded up."""
    return int(depth * (length - 1) + 0.5)


def _first_position(seed: int, length: int, depth: float) -> int:
    """Return where the right option stands in the first repeat."""
    return random.Random(f"position {seed} {length} {depth}").randrange(NUM_CHOICES)


def _require_different_frames(length: int, depths: Sequence[float]) -> None:
    taken: dict[int, float] = {}
    for depth in depths:
        other = taken.setdefault(_frame(length, depth), depth)
        if other != depth:
            raise ValueError(
                f"lengths: in {length} frames, the depths {other:g} and {depth:g} are the same "
                f"frame, and both needles would be in it; use longer `lengths`, fewer `depths`, or "
                f"fewer `needles`"
            )


def _info(length: int) -> MediaInfo:
    """Describe a clip that need not be there yet, as far as sampling asks."""
    return MediaInfo(
        kind="video",
        width=0,
        height=0,
        codec="h264",
        timestamps_s=tuple(number / FPS for number in range(length)),
        fps=FPS,
        backend="pyav",
        decoder="",
        index=None,
    )
