"""Read the tables of published benchmarks, and insist that all of their media are there."""

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePath
from typing import TypeVar

import pyarrow
import pyarrow.parquet
from pydantic import BaseModel, ConfigDict

from encodeonce.datasets.options import LocalPath
from encodeonce.datasets.readers.questions import Row
from encodeonce.datasets.refusals import Refused, checked
from encodeonce.datasets.sample import BenchmarkError, Sample
from encodeonce.datasets.strict_json import JsonError, parse_json

RowModel = TypeVar("RowModel", bound=BaseModel)

SHOWN = 3
"""How many missing files a message names; the rest are counted."""


class FolderBenchmark(BaseModel):
    """The options of a benchmark whose download is one folder, with the media in it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    folder: LocalPath

    @property
    def media_root(self) -> Path:
        """The download."""
        return self.folder


def parquet_rows(path: Path, model: type[BaseModel]) -> Iterator[Row]:
    """Yield the rows of a parquet file, with only the columns that ``model`` reads.

    Raises:
        BenchmarkError: the file cannot be read.
    """
    try:
        held = pyarrow.parquet.read_schema(path).names
        # Others may hold pictures: hundreds of megabytes that nobody asked for.
        wanted = [name for name in model.model_fields if name in held]
        table = pyarrow.parquet.read_table(path, columns=wanted)
    except (OSError, pyarrow.ArrowException) as error:
        raise BenchmarkError(f"{path} is not a whole parquet file: {error}") from error
    for number, content in enumerate(table.to_pylist(), start=1):
        yield Row(place=f"{path}, row {number}", content=content)


def json_rows(path: Path) -> Iterator[Row]:
    """Yield the entries of a JSON file that holds one list.

    Raises:
        BenchmarkError: the file cannot be read, or holds something else.
    """
    try:
        entries = parse_json(path.read_bytes(), allow_nan=True)
    except (OSError, JsonError) as error:
        raise BenchmarkError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(entries, list):
        raise BenchmarkError(f"{path}: expected a list of entries, got {type(entries).__name__}")
    for number, content in enumerate(entries, start=1):
        yield Row(place=f"{path}, entry {number}", content=content)


def json_line_rows(path: Path) -> Iterator[Row]:
    """Yield the objects of a file that holds one a line; empty lines are passed over.

    Raises:
        BenchmarkError: the file cannot be read, or a line holds something else.
    """
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise BenchmarkError(f"{path} cannot be read: {error.strerror or error}") from error
    for number, line in enumerate(lines, start=1):
        place = f"{path}, line {number}"
        if not line.strip():
            continue
        try:
            content = parse_json(line, allow_nan=True)
        except JsonError as error:
            raise BenchmarkError(f"{place} cannot be read as JSON: {error}") from error
        if not isinstance(content, dict):
            raise BenchmarkError(f"{place}: expected an object, got {type(content).__name__}")
        yield Row(place=place, content=content)


def parse(row: Row, model: type[RowModel]) -> RowModel:
    """Return the row as ``model``.

    Raises:
        BenchmarkError: a column is missing, or holds something else than it should; names the row.
    """
    try:
        return checked(model, row.content)
    except Refused as error:
        columns = ", ".join(about.alias or name for name, about in model.model_fields.items())
        problems = str(error).removesuffix(".")
        end = "" if problems.endswith("?") else "."
        raise BenchmarkError(f"{row.place}: {problems}{end} Read here: {columns}") from error


def letter_target(place: str, answer: str, choices: Sequence[str]) -> str:
    """Return ``answer`` if it is the letter of an option.

    Raises:
        BenchmarkError: it is not; names the place.
    """
    letters = [chr(ord("A") + position) for position in range(len(choices))]
    if answer not in letters:
        raise BenchmarkError(
            f"{place}: the answer {answer!r} is none of the letters {', '.join(letters)}"
        )
    return answer


def without_letters(options: Sequence[str]) -> tuple[str, ...]:
    """Return the options' texts without their letters, if all carry one: ``"A. red"``."""
    prefixes = [f"{chr(ord('A') + position)}. " for position in range(len(options))]
    if all(map(str.startswith, options, prefixes)):
        return tuple(option[len("A. ") :] for option in options)
    return tuple(options)


def unique(placed: Iterable[tuple[str, Sample]]) -> list[Sample]:
    """Return the samples, whose ids must be unique.

    Raises:
        BenchmarkError: two have the same id; names both places.
    """
    places: dict[str, str] = {}
    samples = []
    for place, sample in placed:
        if sample.id in places:
            raise BenchmarkError(
                f"{place}: the id {sample.id!r} is taken already, by {places[sample.id]}"
            )
        places[sample.id] = place
        samples.append(sample)
    return samples


def complete(placed: Iterable[tuple[str, Sample]], root: Path, download: str) -> list[Sample]:
    """Return the samples of a benchmark: each id once, and all media there.

    Args:
        placed: samples, each with the place it stands at.
        root: of the media.
        download: what to say where media are missing.

    Raises:
        BenchmarkError: two samples have the same id, or a sample's file is not under ``root``.
    """
    samples = unique(placed)
    require_media(root, samples, download)
    return samples


def require(path: Path, download: str) -> Path:
    """Return ``path`` if it exists.

    Raises:
        BenchmarkError: it does not; says what to download.
    """
    if not path.exists():
        raise BenchmarkError(f"{path} is not there. {download}")
    return path


def require_media(root: Path, samples: Iterable[Sample], download: str) -> None:
    """Refuse incomplete data: half a benchmark gives a score that looks like the real one.

    Raises:
        BenchmarkError: a sample's file is not under ``root``; counts and names what is missing.
    """
    paths = list(dict.fromkeys(ref.path for sample in samples for ref in sample.media))
    # One listing per folder: asking for thousands of files takes minutes on network disks.
    listed = {folder: _names(root / folder) for folder in {PurePath(path).parent for path in paths}}
    missing = [path for path in paths if PurePath(path).name not in listed[PurePath(path).parent]]
    if missing:
        more = f" and {len(missing) - SHOWN} more" if len(missing) > SHOWN else ""
        raise BenchmarkError(
            f"{len(missing)} of {len(paths)} media files are not in {root}: "
            f"{', '.join(missing[:SHOWN])}{more}. {download}"
        )


def _names(folder: Path) -> set[str]:
    try:
        return {entry.name for entry in os.scandir(folder)}
    except OSError:
        return set()
