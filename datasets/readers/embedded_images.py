"""Turn images that a table holds as base64 into files that media paths can name."""

import base64
import binascii
import hashlib
import io
import uuid
from pathlib import Path

from PIL import Image

from encodeonce.datasets.sample import BenchmarkError


def save_image(encoded: str, folder: Path) -> str:
    """Return the name of the image's file in ``folder``, written if it is not there yet.

    The name is the digest of the image's bytes: the same image is one file, however often a table
    repeats it, and two processes that write it write the same. A file under its name is complete.

    Args:
        encoded: base64, also as a data URL.
        folder: created if missing.

    Raises:
        ValueError: ``encoded`` is not the base64 of an image.
        BenchmarkError: the folder cannot be written to.
    """
    _, comma, rest = encoded.partition(";base64,")
    try:
        content = base64.b64decode("".join((rest if comma else encoded).split()), validate=True)
        return save_image_bytes(content, folder, "images")
    except BenchmarkError:
        raise
    except (binascii.Error, ValueError) as error:
        raise ValueError(
            f"{encoded[:20]!r}… ({len(encoded)} characters) is not the base64 of an image: {error}"
        ) from error


def save_image_bytes(content: bytes, folder: Path, option: str) -> str:
    """Return the name of the image's file in ``folder``, as `save_image` does.

    Args:
        content: of an image file.
        folder: created if missing.
        option: which option of the benchmark names the folder.

    Raises:
        ValueError: ``content`` is not an image.
        BenchmarkError: the folder cannot be written to.
    """
    try:
        with Image.open(io.BytesIO(content)) as image:
            image_format = image.format or "image"
    except OSError as error:  # Pillow's: not an image
        raise ValueError(str(error)) from error
    name = f"{hashlib.sha256(content).hexdigest()[:32]}.{image_format.lower()}"
    try:
        _write_once(folder / name, content)
    except OSError as error:
        raise BenchmarkError(
            f"the images of the table cannot be written to {folder}: {error}. Name a folder that "
            f"can be written to as option {option!r}"
        ) from error
    return name


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
