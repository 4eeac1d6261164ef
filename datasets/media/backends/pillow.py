"""Still images with Pillow."""

import functools
import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import PIL
from PIL import ExifTags, Image, ImageOps, features

from encodeonce.datasets.media.media import EmptyMedia, MediaError, UndecodableMedia

MOST_PIXELS = 178_956_970
"""A picture of more is refused before memory is allocated for it: half a GiB of RGB, Pillow's own
limit, which other libraries lift for the whole process."""

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


class Description(NamedTuple):
    """What a picture's header says."""

    image_format: str
    """As Pillow names it."""
    width: int
    """Upright, like `height`."""
    height: int
    has_transparency: bool


def describe(path: str) -> Description:
    """Return what the header of an image says, EXIF orientation applied; decodes no pixels.

    Raises:
        UndecodableMedia: the file is not an image that Pillow reads, is too large, or has more than
            8 bits a channel.
        EmptyMedia: it has no pixels.
    """
    with opened(path, path) as image:
        check_depth(image, path)
        width, height = image.size
        # Orientations 5 to 8 swap the axes (Exif 2.32, tag 0x0112); Pillow says the size of a
        # TIFF as it is once its pixels are decoded, which turns them.
        turns = image.getexif().get(ExifTags.Base.Orientation) in (5, 6, 7, 8)
        if turns and image.format != "TIFF":
            width, height = height, width
        return Description(image.format or "unknown", width, height, image.has_transparency_data)


def read(path: str) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return the image as (1, H, W, 3) RGB, upright, on white; of an animation, the first frame.

    Raises:
        UndecodableMedia: the file is damaged or truncated, or see `describe`.
    """
    with opened(path, path) as image:
        return np.asarray(rgb(ImageOps.exif_transpose(image)))[np.newaxis]


def rgb(image: Image.Image) -> Image.Image:
    """Return an image in RGB: transparency shows white, as on a page.

    What stands in transparent pixels is arbitrary, often black: dropped transparency would turn
    black writing on nothing into black on black.
    """
    if not image.has_transparency_data:
        return image.convert("RGB")
    above = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", above.size, "white"), above).convert("RGB")


@contextmanager
def opened(file: str | io.BytesIO, name: str) -> Iterator[Image.Image]:
    """Open an image; any failure to read it becomes a `MediaError`, also within the block.

    Args:
        file: a path, or the bytes of a file.
        name: what messages call it.

    Raises:
        UndecodableMedia: it is not an image that Pillow reads, is damaged, or too large.
        EmptyMedia: it has no pixels.
    """
    try:
        with Image.open(file) as image:
            check_size(image, name)
            yield image
    except MediaError:
        raise
    except Image.DecompressionBombError as error:
        got = str(error).partition(" exceeds")[0]
        raise UndecodableMedia(f"{name} is too large: {got}; {_ALLOWED}") from error
    except PIL.UnidentifiedImageError as error:
        raise UndecodableMedia(f"{name} is not a readable image: of no known format") from error
    # Pillow's readers raise whatever they stumble over in a damaged file.
    except Exception as error:
        raise UndecodableMedia(f"{name} is not a readable image: {error}") from error


_ALLOWED = f"pictures may have up to {MOST_PIXELS:,} pixels: make it smaller first"


def check_size(image: Image.Image, name: str) -> None:
    """Check how many pixels an image has, before any is decoded.

    Raises:
        UndecodableMedia: too many.
        EmptyMedia: none.
    """
    if not image.width or not image.height:
        raise EmptyMedia(f"{name} is {image.width} x {image.height} pixels")
    if image.width * image.height > MOST_PIXELS:
        raise UndecodableMedia(
            f"{name} is too large: {image.width} x {image.height} pixels; {_ALLOWED}"
        )


def check_depth(image: Image.Image, name: str) -> None:
    """Check that an image has 8 bits a channel.

    Raises:
        UndecodableMedia: it has more.
    """
    if image.mode.startswith("I") or image.mode == "F":
        raise UndecodableMedia(
            f"{name} has pixels of mode {image.mode}, and there is no agreed conversion to 8 bits; "
            f"convert it to 8 bits a channel first"
        )
