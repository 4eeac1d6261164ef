"""Read VLMEvalKit's TSV files: one row per question, with its images inside as base64.

Layout: docs/en/Development.md of github.com/open-compass/VLMEvalKit. The columns are ``index``,
``question``, ``answer`` and ``image`` or ``image_path``; perhaps ``hint``, the options ``A``,
``B``, …, ``category``, ``l2-category`` and ``split``. An image is base64, a Python list of base64
texts, or the index of the row that holds it; a path is relative to the folder of images, by
VLMEvalKit's convention ``images/NAME`` beside ``NAME.tsv``. Rows without an image are left out, as
VLMEvalKit does.
"""

import ast
import logging
import string
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from encodeonce.datasets.media.media import MediaRef
from encodeonce.datasets.prompts import format_question, lettered
from encodeonce.datasets.readers.embedded_images import save_image
from encodeonce.datasets.readers.published import letter_target, require
from encodeonce.datasets.readers.questions import Row
from encodeonce.datasets.readers.tsv import tsv_rows
from encodeonce.datasets.sample import BenchmarkError, Sample

logger = logging.getLogger(__name__)

ChoicePrompt = Literal["vlmevalkit", "llava"]
"""How options are worded: as by VLMEvalKit for models without a prompt of their own, or as LLaVA
was tuned on and evaluated with."""

LONGEST_REFERENCE = 64
"""Longest image cell that may be the index of another row, characters."""
TAGS = ("category", "l2-category", "split")
# What pandas, which writes these files, leaves in an empty cell.
_EMPTY = ("", "nan")


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One row."""

    place: str
    """File and line, for messages."""
    index: str
    question: str
    hint: str
    options: tuple[str, ...]
    answers: tuple[str, ...]
    """One text, or those of several people; for a question with options, the right letter."""
    images: tuple[str, ...]
    """Paths relative to the folder of images."""
    tags: Mapping[str, str]


def default_images(file: Path) -> Path:
    """Return where VLMEvalKit keeps the images of a TSV file."""
    return file.parent / "images" / file.stem


def read_questions(file: Path, images: Path, download: str) -> list[Question]:
    """Return the questions that have an image, in the order of the file.

    Args:
        file: the TSV.
        images: folder that image paths are relative to, and where base64 images are written.
        download: what to say if the file is missing.

    Raises:
        BenchmarkError: the file is missing, truncated, or laid out otherwise; or ``images``
            cannot be written to.
    """
    rows = []
    for row in tsv_rows(require(file, download)):
        _require_columns(row)
        cells = {name: cell for name, cell in row.content.items() if cell.strip() not in _EMPTY}
        names = _images(row.place, cells, images)
        # The base64, which may be most of a gigabyte, is not kept.
        cells.pop("image", None)
        rows.append((Row(place=row.place, content=cells), names))
    found = [_question(row, names) for row, names in _with_references(rows) if names]
    if len(found) < len(rows):
        num_without = len(rows) - len(found)
        logger.warning("%s: %d of %d rows have no image", file, num_without, len(rows))
    return found


def _require_columns(row: Row) -> None:
    for name in ("index", "question", "answer"):
        if name not in row.content:
            hint = "; a TSV without answers is a test split, which only its authors can score"
            raise BenchmarkError(
                f"{row.place}: there is no column {name!r}, only {', '.join(row.content)}"
                + (hint if name == "answer" else "")
            )


def _images(place: str, cells: Mapping[str, str], folder: Path) -> tuple[str, ...] | str:
    """Return the names of a row's images, or the index of the row that holds its image."""
    cell = cells.get("image", "")
    if not cell:
        return tuple(_texts(place, cells.get("image_path", "")))
    if len(cell) <= LONGEST_REFERENCE and not cell.startswith("["):
        return cell
    try:
        return tuple(save_image(encoded, folder) for encoded in _texts(place, cell))
    except BenchmarkError:
        raise
    except ValueError as error:
        raise BenchmarkError(f"{place}, column 'image': {error}") from error


def _with_references(
    rows: Sequence[tuple[Row, tuple[str, ...] | str]],
) -> Iterator[tuple[Row, tuple[str, ...]]]:
    held = {row.content.get("index"): names for row, names in rows if not isinstance(names, str)}
    for row, names in rows:
        if not isinstance(names, str):
            yield row, names
        elif held.get(names):
            yield row, held[names]
        else:
            raise BenchmarkError(
                f"{row.place}: the image is {names!r}, which is neither base64 nor the index of a "
                f"row with an image"
            )


def _question(row: Row, images: tuple[str, ...]) -> Question:
    place, cells = row
    for name in ("index", "question", "answer"):
        if name not in cells:
            raise BenchmarkError(f"{place}: column {name!r} is empty")
    letters = [letter for letter in string.ascii_uppercase if letter in cells]
    if letters != list(string.ascii_uppercase[: len(letters)]):
        raise BenchmarkError(f"{place}: the options are {', '.join(letters)}, with a gap between")
    options = tuple(cells[letter] for letter in letters)
    if options:
        answers = [letter_target(place, cells["answer"].strip(), options)]
    else:
        answers = _answers(cells["answer"])
    return Question(
        place=place,
        index=cells["index"],
        question=cells["question"],
        hint=cells.get("hint", ""),
        options=options,
        answers=tuple(answers),
        images=images,
        tags={name: cells[name] for name in TAGS if name in cells},
    )


def _texts(place: str, cell: str) -> list[str]:
    """Return the texts of a cell that holds one or a Python list of them."""
    if not cell.startswith("["):
        return [cell] if cell else []
    try:
        return [str(item) for item in ast.literal_eval(cell)]
    except (ValueError, SyntaxError) as error:
        raise BenchmarkError(f"{place}: {cell!r:.40} is not a list: {error}") from error


def _answers(cell: str) -> list[str]:
    """Return a row's answers; a text in brackets that is not a list of texts is one answer."""
    try:
        return _texts("", cell) or [cell]
    except BenchmarkError:
        return [cell]


def as_sample(question: Question, prompt: ChoicePrompt) -> Sample:
    """Return the sample of a row; its question includes the hint."""
    words = question.question
    if question.options and prompt == "vlmevalkit":
        words = f"Question: {words}"
    if question.hint:
        lead = "Hint: " if prompt == "vlmevalkit" else ""
        words = f"{lead}{question.hint}\n{words}"
    ((target, _),) = Counter(question.answers).most_common(1)
    return Sample(
        id=question.index,
        media=tuple(MediaRef(kind="image", path=path) for path in question.images),
        question=words,
        choices=question.options,
        target=target,
        references=question.answers if len(question.answers) > 1 else (),
        group=" ".join(question.images),
        tags=question.tags,
    )


def choice_prompt(sample: Sample, prompt: ChoicePrompt) -> str:
    """Return the prompt of a sample with options."""
    if prompt == "llava":
        return format_question(sample.question, sample.choices)
    # The blank and the newline at the end are VLMEvalKit's.
    instruction = "Please select the correct answer from the options above. \n"
    return "\n".join([sample.question, "Options:", *lettered(sample.choices), instruction])
