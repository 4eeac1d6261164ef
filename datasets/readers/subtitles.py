"""Read the subtitles that benchmarks publish beside their videos, and choose among them by time."""

import html
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from encodeonce.datasets.media.frame_times import frame_times_s
from encodeonce.datasets.media.media import MediaError
from encodeonce.datasets.media.sampling import FrameSampling
from encodeonce.datasets.sample import BenchmarkError
from encodeonce.datasets.strict_json import JsonError, parse_json

SubtitleChoice = Literal["none", "frames", "full"]
"""No subtitles; those on screen at the frames that the model sees; all of them."""

_CLOCK = r"(\d+):(\d{1,2}):(\d{1,2}(?:[.,]\d+)?)"
_SRT_TIMES = re.compile(rf"^\s*{_CLOCK}\s*-->\s*{_CLOCK}[^\n]*", re.MULTILINE)
_NEXT_NUMBER = re.compile(r"\n\s*\n\s*\d+\s*\Z")
_MARKUP = re.compile(r"<[^<>]*>")


@dataclass(frozen=True, slots=True, kw_only=True)
class Subtitle:
    """One subtitle. Times are seconds from the start of the video."""

    start_s: float
    end_s: float
    text: str


def read_srt(path: Path) -> tuple[Subtitle, ...]:
    """Read a SubRip file, without its markup (``<font …>``, ``<i>``) and without empty subtitles.

    Raises:
        BenchmarkError: the file cannot be read, or something in it is not a subtitle.
    """
    try:
        content = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise BenchmarkError(f"{path} cannot be read: {error}") from error
    # A text goes on until the next line of times: it may hold empty lines.
    before, *rest = _SRT_TIMES.split(content)
    blocks = [rest[at : at + 7] for at in range(0, len(rest), 7)]
    if before.strip(" \r\n0123456789") or "-->" in "".join(text for *_, text in blocks):
        raise BenchmarkError(
            f"{path}: there is more than numbers, texts and lines like "
            f"'00:01:02,345 --> 00:01:04,000'; it begins with {content[:80]!r}"
        )
    subtitles = []
    for *times, text in blocks:
        plain = html.unescape(_MARKUP.sub("", _NEXT_NUMBER.sub("", text)))
        if words := " ".join(plain.split()):
            start_s, end_s = _clock_s(*times[:3]), _clock_s(*times[3:])
            subtitles.append(Subtitle(start_s=start_s, end_s=end_s, text=words))
    return tuple(subtitles)


def read_timed_json(path: Path, *, offset_s: float, duration_s: float) -> tuple[Subtitle, ...]:
    """Read LongVideoBench's subtitles: a list in one of two forms, by their origin.

    ``{"start": "00:00:01.000", "end": …, "line": …}`` or ``{"timestamp": [1.0, 2.5], "text": …}``,
    where the end may be null: the subtitle lasts until the video ends.

    Args:
        path: the file.
        offset_s: when the video starts on the subtitles' clock; many are cut from longer videos.
        duration_s: of the video.

    Raises:
        BenchmarkError: the file cannot be read, or has entries of another form.
    """
    try:
        entries = parse_json(path.read_bytes(), allow_nan=True)
    except (OSError, JsonError) as error:
        raise BenchmarkError(f"{path} cannot be read as JSON: {error}") from error
    try:
        return tuple(_timed(entry, offset_s, duration_s) for entry in entries)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise BenchmarkError(
            f"{path}: expected a list of {{start, end, line}} or {{timestamp, text}}: {error!r}"
        ) from error


def _timed(entry: Any, offset_s: float, duration_s: float) -> Subtitle:
    if "timestamp" in entry:
        start_s, end_s = entry["timestamp"]
        text = entry["text"]
        end_s = duration_s + offset_s if end_s is None else end_s
    else:
        start_s, end_s = (_clock_s(*entry[name].split(":")) for name in ("start", "end"))
        text = entry["line"]
    return Subtitle(start_s=start_s - offset_s, end_s=end_s - offset_s, text=text.strip())


def _clock_s(hours: str, minutes: str, seconds: str) -> float:
    return 3600 * int(hours) + 60 * int(minutes) + float(seconds.replace(",", "."))


def on_screen(subtitles: Iterable[Subtitle], times_s: Sequence[float]) -> list[str]:
    """Return the texts shown at any of the times, each subtitle once, in their order."""
    return [
        subtitle.text
        for subtitle in subtitles
        if any(subtitle.start_s <= time_s < subtitle.end_s for time_s in times_s)
    ]


class Transcripts:
    """The subtitles that go into prompts about a video; each video's are read once."""

    def __init__(
        self,
        choice: SubtitleChoice,
        frames: FrameSampling | None,
        chosen: Callable[[Sequence[Subtitle], Sequence[float]], list[str]] = on_screen,
    ) -> None:
        """Make a reader.

        Args:
            choice: which subtitles are wanted.
            frames: which frames the model sees, needed for the choice ``frames``.
            chosen: picks the texts that go with frames at the given times.
        """
        self._choice = choice
        self._frames = frames
        self._chosen = chosen
        self._known: dict[Path, str | None] = {}

    def of(self, video: Path, read: Callable[[], Sequence[Subtitle] | None]) -> str | None:
        """Return the lines for a video, None if it has no subtitles or none are wanted.

        Args:
            video: the file; its header tells the times of its frames.
            read: returns its subtitles, or None if it has none.

        Raises:
            BenchmarkError: the subtitles of frames are wanted, but ``frames`` is not known.
        """
        if self._choice == "none":
            return None
        if video not in self._known:
            subtitles = read()
            self._known[video] = None if subtitles is None else self._lines(video, subtitles)
        return self._known[video]

    def _lines(self, video: Path, subtitles: Sequence[Subtitle]) -> str:
        if self._choice == "full":
            return "\n".join(subtitle.text for subtitle in subtitles)
        if self._frames is None:
            raise BenchmarkError(
                "subtitles: 'frames' takes the subtitles of the frames that the model sees; say "
                "which: frames: {policy: uniform_inclusive, num_frames: 8}"
            )
        try:
            times_s = frame_times_s(video, self._frames)
        except MediaError:  # fails its own samples when their turn comes, and no others now
            return ""
        return "\n".join(self._chosen(subtitles, times_s))
