"""Decode the frames asked for, and no others."""

from collections.abc import Sequence

from encodeonce.datasets.media.backends import decord, pillow, pyav, torchcodec
from encodeonce.datasets.media.info import MediaInfo
from encodeonce.datasets.media.media import Frames, Media


def decode(media: Media, info: MediaInfo, indices: Sequence[int]) -> Frames:
    """Return the frames of ``media`` at ``indices``, read by the backend that ``info`` names.

    Each call opens the file for itself, so threads may call it at the same time.

    Args:
        media: the file.
        info: what `probe` found out about it.
        indices: frame numbers in presentation order, strictly increasing; ``(0,)`` for an image.

    Raises:
        ValueError: ``indices`` are empty, not strictly increasing, or out of range.
        UndecodableMedia: a frame cannot be decoded; none are returned then.
    """
    indices = tuple(int(index) for index in indices)
    in_range = bool(indices) and indices[0] >= 0 and indices[-1] < info.num_frames
    if not in_range or any(a >= b for a, b in zip(indices, indices[1:], strict=False)):
        raise ValueError(
            f"{media.uri}: frame indices must increase strictly within [0, {info.num_frames}), "
            f"got {indices}"
        )
    if info.index is None:
        pixels_THWC = pillow.read(media.uri)
    elif info.backend == "decord":
        pixels_THWC = decord.read(media.uri, info.index, indices)
    elif info.backend == "torchcodec":
        pixels_THWC = torchcodec.read(media.uri, info.index, indices)
    else:
        pixels_THWC = pyav.read(media.uri, info.index, indices)
    timestamps_s = tuple(info.timestamps_s[index] for index in indices)
    return Frames(pixels_THWC=pixels_THWC, timestamps_s=timestamps_s)
