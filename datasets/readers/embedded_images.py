"""Turn images that a table holds as base64 into files that media paths can name."""

import base64
import hashlib
import io
import uuid
from pathlib import Path

from encodeonce.datasets.media.backends import pillow
from encodeonce.datasets.sample import BenchmarkError


def save_image(encoded: str, folder: Path) -> str:
    """Return the name of the image's file in ``folder``, written if it is not there yet.

    The name is the digest of the image's bytes: the same image is one file, however often a table
    repeats it, and two processes that write it write the same. A file under its name is complete.

    Args:
        encoded: base64, also as a data URL.
        folder: created if missing.

    Raises:
        ValueError: ``encoded`` is not the base64 of an image, or of too large a one.
        BenchmarkError: the folder cannot be written to.
    """
    _, comma, rest = encoded.partition(";base64,")
    name = f"the picture ({encoded[:20]!r}…, {len(encoded)} characters)"
    try:
        content = base64.b64decode("".join((rest if comma else encoded).split()), validate=True)
    except ValueError as error:
        raise ValueError(f"{name} is not base64: {error}") from error
    return save_image_bytes(content, folder, "images", name)


def save_image_bytes(content: bytes, folder: Path, option: str, name: str = "the picture") -> str:
    """Return the name of the image's file in ``folder``, as `save_image` does.

    Args:
        content: of an image file.
        folder: created if missing.
        option: which option of the benchmark names the folder.
        name: what messages call the picture.

    Raises:
        MediaError: ``content`` is not an image, or is too large a one; a `ValueError`.
        BenchmarkError: the folder cannot be written to.
    """
    with pillow.opened(io.BytesIO(content), name) as image:
        image_format = image.format or "image"
    file_name = f"{hashlib.sha256(content).hexdigest()[:32]}.{image_format.lower()}"
    try:
        _write_once(folder / file_name, content)
    except OSError as error:
        raise BenchmarkError(
            f"the images of the table cannot be written to {folder}: {error}. Name a folder that "
            f"can be written to as option {option!r}"
        ) from error
    return file_name


def _write_once(path: Path, content: bytes) -> None:
    # The size too: after a power cut there may be a name without its bytes.
    if path.is_file() and path.stat().st_size == len(content):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
