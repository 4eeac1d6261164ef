"""Chooses the frames that a model sees under VLMEvalKit, and writes frames as picture files."""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from encodeonce.datasets.media.decode import decode
from encodeonce.datasets.media.info import MediaInfo
from encodeonce.datasets.media.ledger import Ledger
from encodeonce.datasets.media.library import MediaLibrary
from encodeonce.datasets.media.media import Media, MediaRef
from encodeonce.datasets.media.probe import VideoBackend, probe
from encodeonce.datasets.media.sampling import (
    EveryInterval,
    FrameSampling,
    UniformInclusive,
    UniformInterior,
)


def sampling_for(default: FrameSampling, nframe: int | None, fps: float | None) -> FrameSampling:
    """Return the sampling that a benchmark of the kit asks for: Video-MME_8frame asks for 8 frames.

    The kit's video models take the benchmark's number or rate, and place the frames by their own
    rule; our models by the rule of the run file.

    Args:
        default: the run file's sampling, for benchmarks that ask for nothing.
        nframe: the benchmark's number of frames, or None.
        fps: the benchmark's frames per second, or None.
    """
    if nframe is not None:
        if isinstance(default, UniformInterior):
            return UniformInterior(num_frames=nframe)
        return UniformInclusive(num_frames=nframe)
    if fps is not None:
        max_frames = default.max_frames if isinstance(default, EveryInterval) else None
        return EveryInterval(fps=fps, max_frames=max_frames)
    return default


@dataclass(frozen=True, kw_only=True)
class FrameFiles:
    """Frames of videos as PNG files, for models that take pictures."""

    folder: Path
    """Where they are written."""
    library: MediaLibrary
    ledger: Ledger
    backend: VideoBackend
    sampling: FrameSampling

    def paths(self, ref: MediaRef) -> list[Path]:
        """Return the files of a video's frames, in order; missing ones are written.

        Raises:
            MediaError: the video cannot be used.
        """
        media = self.library.resolve(ref)
        info = probe(media, ledger=self.ledger, backend=self.backend)
        frames = self.sampling.indices(info, media.clip_s)
        # Another video backend may give other pixels.
        pixels = hashlib.sha256(f"{media.sha256} {info.decoder}".encode()).hexdigest()
        files = {frame: self.folder / pixels / f"frame-{frame}.png" for frame in frames}
        missing = [frame for frame, path in files.items() if not path.exists()]
        if missing:
            self._write(media, info, missing, [files[frame] for frame in missing])
        return list(files.values())

    def _write(
        self, media: Media, info: MediaInfo, frames: Sequence[int], files: Sequence[Path]
    ) -> None:
        decoded = decode(media, info, frames)
        for pixels, path in zip(decoded.pixels_THWC, files, strict=True):
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.with_suffix(f".{os.getpid()}")
            Image.fromarray(pixels).save(temporary, format="PNG")
            temporary.replace(path)
