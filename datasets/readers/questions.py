"""Check the rows of a questions file, and turn them into samples."""

import string
from codecs import BOM_UTF8
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    model_validator,
)

from encodeonce.datasets.media.media import MediaRef
from encodeonce.datasets.readers.cells import WrittenFloat, as_number, as_text, is_empty, options
from encodeonce.datasets.refusal_words import suggestion
from encodeonce.datasets.refusals import Location, Problem, Refused, checked
from encodeonce.datasets.sample import BenchmarkError, Sample
from encodeonce.datasets.strict_json import JsonError, parse_json


class Row(NamedTuple):
    """A row, and where it is, for messages."""

    place: str
    """``"questions.jsonl, line 12"``."""
    content: Mapping[str, Any]


class Columns(BaseModel):
    """Names of a questions file's columns. Other columns are ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str = Field(default="id", description="Unique in the file; text or integer.")
    question: str = Field(default="question", description="The question, without its options.")
    answer: str = Field(
        default="answer",
        description="With options: the letter, or the whole text, of the right one; where a text "
        "is another option's letter, the letter in brackets: (B). Else a text.",
    )
    choices: str | tuple[str, ...] = Field(
        default="choices",
        description="A column holding the list of options, or one column for each option, e.g. "
        "[A, B, C, D]; a row with fewer options leaves the last ones empty.",
    )
    image: str = Field(default="image", description="Path of an image, or a list of paths.")
    video: str = Field(default="video", description="Path of a video, or a list of paths.")
    media: str = Field(
        default="media",
        description="For images and videos in a given order: a list of {kind, path, clip_s}.",
    )
    clip_start_s: str = Field(default="clip_start_s", description="Where the clip starts, s.")
    clip_end_s: str = Field(default="clip_end_s", description="Where the clip ends, s, exclusive.")
    group: str = Field(
        default="group", description="Questions of one group form one cluster; default: the media."
    )
    tags: str = Field(default="tags", description="An object of texts to break results down by.")


def _as_list(value: Any) -> Any:
    return [] if value is None else [value] if isinstance(value, str) else value


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("an empty text")
    return text


def _without_nulls(value: Any) -> Any:
    # Tables give every row the keys of all rows.
    if not isinstance(value, Mapping):
        return value
    return {key: item for key, item in value.items() if item is not None}


_Text = Annotated[str, BeforeValidator(as_text), Field(min_length=1), AfterValidator(_not_blank)]
_Paths = Annotated[list[str], BeforeValidator(_as_list)]


class _Media(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    kind: Literal["image", "video"]
    path: str
    clip_s: list[float] | None = Field(default=None, min_length=2, max_length=2)


class _Question(BaseModel):
    """A row under the default column names."""

    model_config = ConfigDict(strict=True)

    id: _Text
    question: str = Field(min_length=1)
    answer: _Text
    choices: list[_Text] = Field(default=[], max_length=len(string.ascii_uppercase))
    image: _Paths = []
    video: _Paths = []
    media: list[_Media] = []
    clip_start_s: float | None = None
    clip_end_s: float | None = None
    group: _Text | None = None
    tags: Annotated[dict[str, _Text], BeforeValidator(_without_nulls)] = {}

    @model_validator(mode="after")
    def _has_media(self) -> "_Question":
        if bool(self.media) == bool(self.image or self.video):
            raise ValueError("needs 'image' or 'video' paths, or a 'media' list, and not both")
        return self

    def media_refs(self) -> tuple[MediaRef, ...]:
        images = [MediaRef(kind="image", path=path) for path in self.image]
        clip_s = _clip(self.clip_start_s, self.clip_end_s)
        videos = [MediaRef(kind="video", path=path, clip_s=clip_s) for path in self.video]
        listed = [
            MediaRef(kind=item.kind, path=item.path, clip_s=_clip(*(item.clip_s or (None, None))))
            for item in self.media
        ]
        return (*images, *videos, *listed)

    def target(self) -> str:
        """Return the answer; with options, its letter."""
        if not self.choices:
            return self.answer
        letters = list(string.ascii_uppercase[: len(self.choices)])
        named = [
            letter
            for letter, choice in zip(letters, self.choices, strict=True)
            if self.answer in (letter, choice)
        ]
        if self.answer in letters and len(named) > 1:
            text = " and ".join(letter for letter in named if letter != self.answer)
            raise ValueError(
                f"answer {self.answer!r} is both a letter and the text of option {text}, of "
                f"{self.choices}; write '({self.answer})' for the letter, or the right option's "
                f"letter in brackets"
            )
        if len(named) == 1:
            return named[0]
        if not named and self.answer in [f"({letter})" for letter in letters]:
            return self.answer[1]
        raise ValueError(
            f"answer {self.answer!r} is neither one of the letters {', '.join(letters)} nor the "
            f"text of exactly one option of {self.choices}"
        )


def json_lines(path: Path) -> Iterator[Row]:
    """Yield the rows of a JSONL file; empty lines are skipped.

    Raises:
        BenchmarkError: the file cannot be read, or a line is not JSON.
    """
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                # The first line may begin with a byte-order mark, and hold nothing else.
                if line.removeprefix(BOM_UTF8).strip():
                    place = f"{path}, line {number}"
                    yield Row(place=place, content=_parse(place, line))
    except OSError as error:
        raise BenchmarkError(f"{path} cannot be read: {error.strerror or error}") from error


def _parse(place: str, line: bytes) -> Any:
    try:
        return parse_json(line, unique_keys=True, parse_float=WrittenFloat.read)
    except JsonError as error:
        got = line.decode(errors="replace").strip()
        raise BenchmarkError(f"{place}: {error}; got {got!r:.80}") from error


def read_samples(rows: Iterable[Row], columns: Columns) -> Iterator[Sample]:
    """Yield the sample of each row, in order.

    Raises:
        BenchmarkError: a row lacks a column, holds something else than it should, has the id of an
            earlier one, or an answer that is not among its options. Names the row.
    """
    places: dict[str, str] = {}
    for row in rows:
        try:
            sample = _sample(_renamed(row.content, columns))
        except Refused as error:
            problems = _problems(error, columns, row.content)
            raise BenchmarkError(f"{row.place}: {problems}") from error
        except ValueError as error:
            raise BenchmarkError(f"{row.place}: {error}") from error
        if sample.id in places:
            raise BenchmarkError(
                f"{row.place}: the id {sample.id!r} is taken already, by {places[sample.id]}"
            )
        places[sample.id] = row.place
        yield sample


def _sample(content: Mapping[str, Any]) -> Sample:
    question = checked(_Question, content)
    media = question.media_refs()
    return Sample(
        id=question.id,
        media=media,
        question=question.question,
        choices=tuple(question.choices),
        target=question.target(),
        group=question.group or " ".join(ref.path for ref in media),
        tags=question.tags,
    )


def _renamed(content: Mapping[str, Any], columns: Columns) -> dict[str, Any]:
    """Return the known columns that are not null, under their default names."""
    if not isinstance(content, Mapping):
        raise ValueError(f"expected an object of columns, got {content!r:.80}")
    known = {}
    for name, column in columns:
        if isinstance(column, str):
            known[name] = content.get(column)
        else:
            known[name] = options(content, column)
    return {name: value for name, value in known.items() if value is not None}


def from_text(row: Row, columns: Columns) -> Row:
    """Return the row of a table of texts as one of typed cells: empty ones absent, times numbers.

    What is no number stays a text, which is then refused.
    """
    content = {name: None if is_empty(cell) else cell for name, cell in row.content.items()}
    for name in (columns.clip_start_s, columns.clip_end_s):
        if name in content:
            content[name] = as_number(content[name])
    return Row(place=row.place, content=content)


def _clip(start_s: float | None, end_s: float | None) -> tuple[float, float] | None:
    if start_s is None and end_s is None:
        return None
    clip_s = (0.0 if start_s is None else start_s, float("inf") if end_s is None else end_s)
    if not 0 <= clip_s[0] < clip_s[1]:
        raise ValueError(f"clip {clip_s}: allowed is 0 <= start < end, in seconds")
    return clip_s


def _problems(error: Refused, columns: Columns, row: Mapping[str, Any]) -> str:
    return "; ".join(
        f"{_column(problem.path, columns)}{problem.sentence}{_there(problem, columns, row)}"
        for problem in error.problems
    )


def _there(problem: Problem, columns: Columns, row: Mapping[str, Any]) -> str:
    """Name the row's columns where one is missing: it may have another name."""
    if not problem.path:
        missing = [columns.image, columns.video, columns.media]
    elif problem.sentence == "is missing" and len(problem.path) == 1:
        missing = [str(getattr(columns, str(problem.path[0])))]
    else:
        return ""
    if any(name in row for name in missing):
        return ""
    there = [str(name) for name in row]
    hint = next(filter(None, (suggestion(name, there) for name in missing)), "")
    return f"; there are {', '.join(there)}.{hint}"


def _column(path: Location, columns: Columns) -> str:
    if not path:
        return ""
    name = getattr(columns, str(path[0]))
    inner = "".join(f"[{part!r}]" for part in path[1:])
    return f"column {name!r}{inner}: "
