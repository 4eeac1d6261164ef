"""Draw the demo model's training data: frames from the train split's images, in memory."""

from dataclasses import dataclass
from io import BytesIO

import numpy as np
import torch
from PIL import Image

from encodeonce.datasets.demo.scenes import FRAME_PX, draw_frame, draw_ink, draw_scene
from encodeonce.datasets.demo.sources import Split, load_sources
from encodeonce.models.demo.architecture import IMAGE_PX, PATCH_PX

NUM_DIGITS = 10
BACKGROUND = NUM_DIGITS
PATCHES_PER_SIDE = IMAGE_PX // PATCH_PX
# A patch counts as part of the digit when this share of it is ink.
MIN_INK_SHARE = 0.12


@dataclass(frozen=True, slots=True, kw_only=True)
class Frames:
    """Frames as the processor resizes them, with what each patch shows.

    Attributes:
        pixels: `(N, IMAGE_PX, IMAGE_PX, 3)`, uint8.
        digits: `(N,)`, the digit in the frame.
        patches: `(N, P)`, that digit where the patch holds ink, `BACKGROUND` elsewhere.
    """

    pixels: torch.Tensor
    digits: torch.Tensor
    patches: torch.Tensor


def draw_frames(num_frames: int, split: Split, seed: int) -> Frames:
    """Draw single frames of random scenes at random moments, all digits equally often."""
    rng = np.random.default_rng(seed)
    sources = load_sources(split)
    digits = rng.permutation(np.arange(num_frames) % NUM_DIGITS)
    pixels = np.empty((num_frames, IMAGE_PX, IMAGE_PX, 3), dtype=np.uint8)
    patches = np.empty((num_frames, PATCHES_PER_SIDE**2), dtype=np.int64)
    for index, digit in enumerate(digits):
        glyphs = sources.glyphs[digit]
        scene = draw_scene(rng, glyphs[rng.integers(len(glyphs))], sources)
        moment = float(rng.choice((0.0, 1.0, rng.uniform())))
        pixels[index] = _damage_and_resize(rng, draw_frame(scene, moment))
        patches[index] = np.where(_ink_share(draw_ink(scene, moment)), digit, BACKGROUND)
    return Frames(
        pixels=torch.from_numpy(pixels),
        digits=torch.from_numpy(digits),
        patches=torch.from_numpy(patches),
    )


def _damage_and_resize(rng: np.random.Generator, frame: np.ndarray) -> np.ndarray:
    """Add block artefacts, then resizes as the image processor does.

    A JPEG of random quality stands in for H.264: the artefacts are alike (blocks, ringing,
    subsampled colour) and a frame costs a fraction of a millisecond instead of a whole clip.
    """
    buffer = BytesIO()
    Image.fromarray(frame).save(buffer, "jpeg", quality=int(rng.integers(35, 95)))
    resized = Image.open(buffer).resize((IMAGE_PX, IMAGE_PX), Image.Resampling.BICUBIC)
    return np.asarray(resized)


def _ink_share(ink: np.ndarray) -> np.ndarray:
    """Say for each patch whether enough of it is ink, in reading order."""
    side_px = FRAME_PX // PATCHES_PER_SIDE
    blocks = ink.reshape(PATCHES_PER_SIDE, side_px, PATCHES_PER_SIDE, side_px)
    return blocks.mean(axis=(1, 3)).reshape(-1) > MIN_INK_SHARE


def normalize(pixels: torch.Tensor) -> torch.Tensor:
    """Turn `(N, H, W, 3)` uint8 into the tower's `(N, 3, H, W)` input, as the processor does."""
    return pixels.permute(0, 3, 1, 2).float() / 127.5 - 1
