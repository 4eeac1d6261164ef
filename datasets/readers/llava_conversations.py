"""Read LLaVA's instruction files: JSON lists of conversations about images.

Layout: docs/Finetune_Custom_Data.md of github.com/haotian-liu/LLaVA. An entry has an ``id``, an
``image`` (a path; a list where there are several) and ``conversations``, turns ``{"from": "human",
"value": …}`` and ``{"from": "gpt", "value": …}`` one after the other. ``<image>`` marks the place
of an image, in the first turn before or after the words. Media come before the words here, so the
mark is removed.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from encodeonce.datasets.media.media import MediaRef
from encodeonce.datasets.readers.published import json_rows, parse, require
from encodeonce.datasets.readers.questions import Row
from encodeonce.datasets.sample import BenchmarkError

IMAGE_MARK = "<image>"


class Turn(NamedTuple):
    """What the human says, and the reply."""

    human: str
    gpt: str


class Conversation(NamedTuple):
    """An entry of the file."""

    place: str
    """File and entry, for messages."""
    name: str
    """The entry's ``id``."""
    images: tuple[MediaRef, ...]
    """Empty for a conversation without one."""
    turns: tuple[Turn, ...]


def _as_list(value: Any) -> Any:
    return [] if value is None else [value] if isinstance(value, str) else value


class _Turn(BaseModel):
    model_config = ConfigDict(strict=True)

    speaker: Literal["human", "gpt"] = Field(alias="from")
    value: str


class _Entry(BaseModel):
    model_config = ConfigDict(strict=True)

    id: str | int
    image: Annotated[list[str], BeforeValidator(_as_list)] = []
    conversations: list[_Turn] = Field(min_length=2)


def read_conversations(file: Path, download: str) -> Iterator[Conversation]:
    """Yield the entries, in the order of the file.

    Raises:
        BenchmarkError: the file is missing, damaged, or laid out otherwise.
    """
    for row in json_rows(require(file, download)):
        yield _conversation(row)


def _conversation(row: Row) -> Conversation:
    entry = parse(row, _Entry)
    speakers = [turn.speaker for turn in entry.conversations]
    if speakers != ["human", "gpt"] * (len(speakers) // 2):
        raise BenchmarkError(
            f"{row.place}: expected turns of human and gpt, one after the other; got "
            f"{', '.join(speakers)}"
        )
    num_marks = sum(turn.value.count(IMAGE_MARK) for turn in entry.conversations)
    if num_marks != len(entry.image):
        raise BenchmarkError(
            f"{row.place}: {num_marks} times {IMAGE_MARK} for {len(entry.image)} images"
        )
    texts = [_without_mark(turn.value) for turn in entry.conversations]
    if "" in texts:
        raise BenchmarkError(f"{row.place}: turn {texts.index('') + 1} says nothing")
    turns = zip(texts[::2], texts[1::2], strict=True)
    return Conversation(
        place=row.place,
        name=str(entry.id),
        images=tuple(MediaRef(kind="image", path=path) for path in entry.image),
        turns=tuple(Turn(human=human, gpt=gpt) for human, gpt in turns),
    )


def _without_mark(text: str) -> str:
    return text.replace(IMAGE_MARK, "").strip()
