"""Small video files, made while a test runs."""

from pathlib import Path

import av
import numpy as np

SAME_BYTES_EVERY_TIME = {"threads": "1", "x264-params": "cpu-independent=1:lookahead-threads=1"}


def write_clip(path: Path, *, num_frames: int = 24, seed: int = 0, fps: int = 8) -> Path:
    """Write an H.264 mp4 of 48 x 40 pixels whose every frame looks different."""
    rng = np.random.default_rng(seed)
    background = rng.integers(0, 200, (40, 48, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options=SAME_BYTES_EVERY_TIME)
        stream.width, stream.height, stream.pix_fmt = 48, 40, "yuv420p"
        for number in range(num_frames):
            image = background.copy()
            image[:, 2 * (number % 24) :][:, :6] = 255
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return path
