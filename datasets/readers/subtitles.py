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
_SRT_TIMES = re.compile(rf"\s*{_CLOCK}\s*-->\s*{_CLOCK}(.*)", re.ASCII)
_BROKEN_TIMES = re.compile(  # half of it; a number in front; another arrow between two clocks
    r"\s*(?:\d+\s+)?-?\d+:[\d:.,;]*\s*-->|\s*-->\s*\d+:"
    r"|\s*(?:\d+\s+)?-?\d+:\d+:[\d.,;:]*\s*(?:-+>|[–—]>|→)\s*-?\d+:\d+:",
    re.ASCII,
)
_SETTINGS = re.compile(r"(\s+\w+:\S+)*\s*")  # where on the screen: X1:40 X2:600, align:start
_NUMBER = re.compile(r"\s*[0-9]{1,9}\s*")

# Only what is certainly markup: "a < b and c > d" and "I <3 you" are texts.
_ATTRIBUTE = r"""\s+[\w-]+\s*=\s*(?:"[^"<>]*"|'[^'<>]*'|[^\s"'<>]+)"""
_TAG = re.compile(rf"</?(?:b|i|u|s|em|strong|font|span|c|v)(?:{_ATTRIBUTE})*\s*/?>", re.IGNORECASE)
_BREAK = re.compile(r"<br\s*/?>", re.IGNORECASE)
_OVERRIDES = re.compile(r"\{\\[^{}]*\}")  # of Advanced SubStation: {\an8}, {\pos(1,2)}
_ENTITY = re.compile(r"&(?:#\d+|#[xX][0-9a-fA-F]+|\w+);", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Subtitle:
    """One subtitle. Times are seconds from the start of the video."""

    start_s: float
    end_s: float
    text: str


def read_srt(path: Path) -> tuple[Subtitle, ...]:
    """Read a SubRip file, without its markup (``<font …>``, overrides of styles) and empty texts.

    Raises:
        BenchmarkError: the file cannot be read, or a line in it does not belong there.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise BenchmarkError(f"{path} cannot be read as UTF-8: {error}") from error
    marks = [(at, found) for at, line in enumerate(lines) if (found := _SRT_TIMES.match(line))]
    first = marks[0][0] if marks else len(lines)
    _check_lines(path, lines, first)
    number = _last_number(lines[:first])[0]
    ends = [at for at, _ in marks[1:]]
    subtitles = []
    # A text goes on until the next line of times: it may hold empty lines.
    for (at, found), end in zip(marks, [*ends, None], strict=False):
        *times, rest = found.groups()
        texts = lines[at + 1 : end]
        if end is not None:
            number, texts = _without_number(texts, number)
        if not _SETTINGS.fullmatch(rest):
            texts = [rest, *texts]
        if words := _plain("\n".join(texts)):
            start_s, end_s = _clock_s(*times[:3]), _clock_s(*times[3:])
            subtitles.append(Subtitle(start_s=start_s, end_s=end_s, text=words))
    return tuple(subtitles)


def _check_lines(path: Path, lines: Sequence[str], first: int) -> None:
    """Refuse texts before the first line of times, and lines that were to be times."""
    for at, line in enumerate(lines):
        is_early = at < first and line.strip() and not _NUMBER.fullmatch(line)
        if is_early or (_BROKEN_TIMES.match(line) and not _SRT_TIMES.match(line)):
            raise BenchmarkError(
                f"{path}, line {at + 1}: expected numbers, texts, and lines like "
                f"'00:01:02,345 --> 00:01:04,000' before each text; got {line[:80]!r}"
            )


def _last_number(lines: Sequence[str]) -> tuple[int | None, int]:
    """Return the number that is the last line with anything on it, and where it stands."""
    filled = [at for at, line in enumerate(lines) if line.strip()]
    if not filled or not _NUMBER.fullmatch(lines[filled[-1]]):
        return None, 0
    return int(lines[filled[-1]]), filled[-1]


def _without_number(lines: list[str], number: int | None) -> tuple[int | None, list[str]]:
    """Split the next subtitle's number off a text; return both.

    A number that follows on the last one is taken wherever it stands; another, only if it stands
    apart from the text, right before the times. Any other line is text.
    """
    found, at = _last_number(lines)
    if found is None:
        return None, lines
    is_next = number is not None and found == number + 1
    is_apart = at > 0 and not lines[at - 1].strip() and at == len(lines) - 1
    return (found, lines[:at]) if is_next or is_apart else (None, lines)


def _plain(text: str) -> str:
    """Return a text on one line, without markup."""
    bare = _TAG.sub("", _BREAK.sub(" ", _OVERRIDES.sub("", text)))
    return " ".join(_ENTITY.sub(lambda found: html.unescape(found[0]), bare).split())


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
        start_s, end_s = (_clock_of(entry[name]) for name in ("start", "end"))
        text = entry["line"]
    return Subtitle(start_s=start_s - offset_s, end_s=end_s - offset_s, text=text.strip())


def _clock_of(text: str) -> float:
    found = re.fullmatch(_CLOCK, text, re.ASCII)
    if found is None:
        raise ValueError(f"{text!r} is not a time like '00:01:02.345'")
    return _clock_s(*found.groups())


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
