"""Write media without meaning, to measure on: no download, the same pixels every time."""

from pathlib import Path

import av
import numpy as np
from PIL import Image

FRAMES_PER_SECOND = 30
_WIDTH, _HEIGHT = 640, 360


def write_picture(path: Path, seed: int = 0) -> Path:
    """Write a PNG of noise, 512 x 512 pixels."""
    pixels = np.random.default_rng(seed).integers(0, 256, (512, 512, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def write_video(path: Path, num_frames: int) -> Path:
    """Write an H.264 mp4 of 640 x 360 pixels: coarse noise that moves a little in each frame."""
    blocks = np.random.default_rng(0).integers(0, 256, (_HEIGHT // 8, _WIDTH // 8, 3), np.uint8)
    pattern = blocks.repeat(8, axis=0).repeat(8, axis=1)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(
            "libx264", rate=FRAMES_PER_SECOND, options={"preset": "veryfast"}
        )
        stream.width, stream.height, stream.pix_fmt = _WIDTH, _HEIGHT, "yuv420p"
        for number in range(num_frames):
            moved = np.ascontiguousarray(np.roll(pattern, 2 * number, axis=1))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(moved, format="rgb24")))
        container.mux(stream.encode())
    return path
