"""Which frames of a video a model sees under VLMEvalKit, and frames as pictures on disk."""

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
    """Return the frames that a benchmark of the kit wants: Video-MME_8frame wants 8.

    The kit's models that read the video follow the benchmark's number or rate, by their own rule;
    ours is that of the run file.

    Args:
        default: what the run file says; for benchmarks that say nothing.
        nframe: the benchmark's number of frames, or None.
        fps: the benchmark's frames a second, or None.
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
    """Frames of videos as PNG files, for models that are shown pictures."""

    folder: Path
    """Where they are written."""
    library: MediaLibrary
    ledger: Ledger
    backend: VideoBackend
    sampling: FrameSampling

    def paths(self, ref: MediaRef) -> list[Path]:
        """Return the files of a video's frames, in order; those that are not there are made.

        Raises:
            MediaError: the video cannot be used.
        """
        media = self.library.resolve(ref)
        info = probe(media, ledger=self.ledger, backend=self.backend)
        frames = self.sampling.indices(info, media.clip_s)
        # Another decoder may give other pixels.
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
