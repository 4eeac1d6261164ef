"""Still images with Pillow."""

import functools
import struct
from typing import Any

import numpy as np
import PIL
from PIL import ExifTags, Image, ImageOps, features

from encodeonce.datasets.media.media import UndecodableMedia

# What Pillow's readers raise on damaged files; most are OSError, broken PNG chunks SyntaxError.
_DAMAGED = (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError)

# Formats whose pixels depend on the version of a library; the others are exact by definition.
_LOSSY_LIBRARIES = {
    "JPEG": "libjpeg_turbo",
    "MPO": "libjpeg_turbo",
    "JPEG2000": "jpg_2000",
    "WEBP": "webp",
    "AVIF": "avif",
}


def identity(image_format: str) -> str:
    """Return the backend's name and version for a format as Pillow names it, e.g. ``"JPEG"``."""
    return f"pillow {PIL.__version__}{_library(image_format)}"


@functools.cache
def _library(image_format: str) -> str:
    name = _LOSSY_LIBRARIES.get(image_format)
    version = features.version(name) if name else None
    return f", {name} {version}" if version else ""


def describe(path: str) -> tuple[str, int, int]:
    """Return format, width and height (EXIF orientation applied); decodes no pixels.

    Raises:
        UndecodableMedia: the file is not an image that Pillow reads, or has more than 8 bits
            a channel.
    """
    try:
        with Image.open(path) as image:
            mode, image_format = image.mode, image.format or "unknown"
            width, height = image.size
            orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    except _DAMAGED as error:
        raise UndecodableMedia(f"{path} is not a readable image: {error}") from error
    if mode.startswith("I") or mode == "F":
        raise UndecodableMedia(
            f"{path} has pixels of mode {mode}, and there is no agreed conversion to 8 bits; "
            f"convert the file to 8 bits a channel first"
        )
    # Orientations 5 to 8 swap the axes (Exif 2.32, tag 0x0112).
    return (image_format, height, width) if orientation >= 5 else (image_format, width, height)


def read(path: str) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return the image as (1, H, W, 3) RGB, upright; of an animation, the first frame.

    Transparency is dropped, not blended, as the processors in transformers do.

    Raises:
        UndecodableMedia: the file is damaged or truncated.
    """
    try:
        with Image.open(path) as image:
            upright = ImageOps.exif_transpose(image).convert("RGB")
            return np.asarray(upright)[np.newaxis]
    except _DAMAGED as error:
        raise UndecodableMedia(f"{path} cannot be decoded: {error}") from error
