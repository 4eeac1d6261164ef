"""Writes the viewer into a folder, from which it works without a server, also from a disk."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from encodeonce.cache_store import durable
from encodeonce.harness.run.output_error import writing
from encodeonce.harness.viewer.answers import ViewError
from encodeonce.harness.viewer.chunks import Chunks, script
from encodeonce.harness.viewer.media import Media
from encodeonce.harness.viewer.page import POLICY_ON_DISK, TYPES, page_file

MOST_FRAME_BYTES = 200 * 2**20
"""Of an export: frames of further media are left out."""
_CHUNK = re.compile(r"index\.js|(samples|answers|media|frames)-\d+\.js")
_LEFT_OUT = "left out to keep this folder small; `encodeonce view` shows them"


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """What was written."""

    page: Path
    num_bytes: int
    num_media: int
    num_without_frames: int
    """Media of which no frames could be shown."""


def export(chunks: Chunks, media: Media, folder: Path, with_frames: bool = True) -> Exported:
    """Write the viewer into a folder.

    Args:
        chunks: of the answers.
        media: of the samples.
        folder: new, empty, or of an earlier export, which is replaced.
        with_frames: whether media are decoded, and their frames written.

    Raises:
        ViewError: the folder holds something else.
        OutputError: a file cannot be written.
    """
    _require_ours(folder)
    with writing(folder):
        (folder / "data").mkdir(parents=True, exist_ok=True)
        for old in (folder / "data").iterdir():
            old.unlink()
    size = 0
    for name, content in _scripts(chunks):
        size += _write(folder / "data" / f"{name}.js", content)
    num_media, num_without = 0, 0
    for number in range(chunks.num_answers_chunks) if with_frames else ():
        numbers = media.numbers(chunks.rows(number))
        size += _write(folder / f"data/media-{number}.js", script(f"media-{number}", numbers))
    left = MOST_FRAME_BYTES
    for number in range(media.num_known if with_frames else 0):
        frames = media.frames(number) if left > 0 else {"missing": _LEFT_OUT, "frames": []}
        written = _write(folder / f"data/frames-{number}.js", script(f"frames-{number}", frames))
        num_media, num_without = num_media + 1, num_without + (not frames["frames"])
        left, size = left - written, size + written
    index = chunks.index() | {"hasFrames": with_frames}
    size += _write(folder / "data/index.js", script("index", index))
    size += sum(_write(folder / name, page_file(name, POLICY_ON_DISK)) for name in TYPES)
    return Exported(
        page=folder / "index.html",
        num_bytes=size,
        num_media=num_media,
        num_without_frames=num_without,
    )


def _scripts(chunks: Chunks) -> Iterator[tuple[str, bytes]]:
    for number in range(chunks.num_samples_chunks):
        yield f"samples-{number}", script(f"samples-{number}", chunks.samples(number))
    for number in range(chunks.num_answers_chunks):
        yield f"answers-{number}", script(f"answers-{number}", chunks.answers(number))


def _require_ours(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise ViewError(f"--export {folder}: there is a file of this name; choose a folder")
    if not folder.exists():
        return
    others = {path.name for path in folder.iterdir()} - {*TYPES, "data"}
    if (data := folder / "data").is_dir():
        others |= {path.name for path in data.iterdir() if not _CHUNK.fullmatch(path.name)}
    if others:
        raise ViewError(
            f"--export {folder}: the folder holds other files ({sorted(others)[0]}); choose a new "
            "one, or an earlier export"
        )


def _write(path: Path, content: bytes) -> int:
    with writing(path):
        durable.replace(content, path, path.parent)
    return len(content)
