"""When the frames that a model is shown appear, told from a video's header alone.

A prompt with the subtitles of the frames is written before anything is decoded. An exact index of
an hour of video means reading all of it; benchmarks' own code takes index / rate instead, and so
does this. For a constant rate that is exact up to rounding; for a variable one it is a guess, which
moves the choice of subtitles only, never the choice of frames.
"""

from pathlib import Path

from encodeonce.datasets.decoders import pyav
from encodeonce.datasets.info import MediaInfo
from encodeonce.datasets.sampling import FrameSampling


def frame_times_s(path: Path, frames: FrameSampling) -> tuple[float, ...]:
    """Return the times of the frames that ``frames`` chooses of a video, seconds.

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
