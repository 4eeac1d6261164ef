"""The times of a video's chosen frames, from its header alone: no packet is read.

Exact where the frame rate is constant, as far as the header tells the truth. Prompts that depend
on the frames shown (subtitles) are written before anything is indexed.
"""

from pathlib import Path

from encodeonce.datasets.media.backends import pyav
from encodeonce.datasets.media.info import MediaInfo
from encodeonce.datasets.media.sampling import FrameSampling


def frame_times_s(path: Path, frames: FrameSampling) -> tuple[float, ...]:
    """Return the times of the frames of a video that ``frames`` chooses, seconds.

    Raises:
        UndecodableMedia: there is no video in the file.
        EmptyMedia: it has no frames.
    """
    header = pyav.read_header(str(path))
    times_s = tuple(position / header.rate for position in range(header.num_frames))
    info = MediaInfo(
        kind="video",
        width=0,
        height=0,
        codec="",
        timestamps_s=times_s,
        fps=header.rate,
        backend="pyav",
        decoder=pyav.identity(),
        index=None,
    )
    return tuple(times_s[index] for index in frames.indices(info, None))
