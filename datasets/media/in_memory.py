"""Pictures without a file, as other evaluation harnesses hand them over: already decoded.

Nothing is written to disk. A picture's digest is that of its pixels, and it is kept for as long as
there are questions about it.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
from PIL import Image

from encodeonce.datasets.media.backends import pillow
from encodeonce.datasets.media.info import MediaInfo
from encodeonce.datasets.media.media import Frames, Media, UndecodableMedia

IDENTITY = "pixels 1"
"""In place of a backend's name and versions: the pixels are hashed as they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A picture with its pixels."""

    media: Media
    info: MediaInfo
    frames: Frames

    @property
    def nbytes(self) -> int:
        """Size of the pixels, bytes."""
        return self.frames.pixels_THWC.nbytes


def picture_of(image: Image.Image) -> Picture:
    """Return a Pillow image as a picture, in RGB.

    Transparency shows white, as for files. An orientation in the image's metadata is
    not applied again: that was up to whoever opened the file.

    Raises:
        EmptyMedia: the image has no pixels.
        UndecodableMedia: it is too large, has more than 8 bits a channel, or its file is damaged.
    """
    pillow.check_size(image, "a picture")
    pillow.check_depth(image, "a picture")
    try:
        pixels_HWC = np.asarray(pillow.rgb(image))
    except Exception as error:  # Pillow reads files lazily, and raises what it stumbles over
        raise UndecodableMedia(f"a picture is not a readable image: {error}") from error
    # The shape too: the same bytes are another picture at another width.
    digest = hashlib.sha256(f"encodeonce {IDENTITY} {pixels_HWC.shape}\n".encode())
    digest.update(pixels_HWC.data)
    sha256 = digest.hexdigest()
    height, width, _ = pixels_HWC.shape
    return Picture(
        media=Media(kind="image", uri=f"pixels:{sha256[:16]}", sha256=sha256),
        info=MediaInfo(
            kind="image",
            width=width,
            height=height,
            codec="RGB",
            timestamps_s=(0.0,),
            fps=0.0,
            backend="memory",
            decoder=IDENTITY,
            index=None,
        ),
        frames=Frames(pixels_THWC=pixels_HWC[np.newaxis], timestamps_s=(0.0,)),
    )
