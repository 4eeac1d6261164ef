"""Draw the demo model's training data: frames from the train split's images, in memory."""

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO

import numpy as np
import torch
from PIL import Image

from encodeonce.datasets.demo.contents import COLORS, Contents, draw_contents
from encodeonce.datasets.demo.scenes import GLYPH_PX, draw_frame, draw_scene
from encodeonce.datasets.demo.sources import Split, load_sources
from encodeonce.models.demo.architecture import IMAGE_PX
from encodeonce.models.demo.patches import label_patches

# The tiles occur once in a clip of eight scenes: as often in three of eight frames.
TILED_SHARE = 3 / 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Frames:
    """Frames as the processor resizes them, with what each patch shows.

    Attributes:
        pixels: `(N, IMAGE_PX, IMAGE_PX, 3)`, uint8.
        contents: What each frame shows.
        digits: `(N, P)`, the digit in whose cell the patch lies, `BACKGROUND` in empty cells.
        colors: `(N, P)`, the number of the tile's colour, `NO_COLOR` elsewhere.
    """

    pixels: torch.Tensor
    contents: Sequence[Contents]
    digits: torch.Tensor
    colors: torch.Tensor


def draw_frames(num_frames: int, split: Split, seed: int) -> Frames:
    """Draw single frames of random scenes at random moments."""
    rng = np.random.default_rng(seed)
    sources = load_sources(split)
    pixels = np.empty((num_frames, IMAGE_PX, IMAGE_PX, 3), dtype=np.uint8)
    contents = []
    for index in range(num_frames):
        color = str(rng.choice(COLORS)) if rng.random() < TILED_SHARE else None
        shown = draw_contents(rng, color)
        glyphs = {
            place: _write(rng, sources.glyphs[digit]) for place, digit in shown.digits.items()
        }
        scene = draw_scene(rng, shown, glyphs, sources)
        moment = float(rng.choice((0.0, 1.0, rng.uniform())))
        pixels[index] = _damage_and_resize(rng, draw_frame(scene, moment))
        contents.append(shown)
    digits, colors = label_patches(contents)
    return Frames(pixels=torch.from_numpy(pixels), contents=contents, digits=digits, colors=colors)


def _write(rng: np.random.Generator, glyphs: Sequence[np.ndarray]) -> np.ndarray:
    """Write a digit as none of its images has it: between two of them, and distorted.

    There are 140 images of each digit to learn from; without this, one in thirty patches of
    held-out ones was misread.
    """
    first, second = (_distort(rng, glyphs[int(rng.integers(len(glyphs)))]) for _ in range(2))
    share = rng.choice((0.0, rng.uniform(0.0, 0.5)))
    written: np.ndarray = ((1 - share) * first + share * second).astype(np.float32)
    return written


def _distort(rng: np.random.Generator, glyph: np.ndarray) -> np.ndarray:
    """Make a digit wider or narrower, slanted, turned, with a thicker or thinner pen."""
    middle = (GLYPH_PX - 1) / 2
    angle = rng.uniform(-0.15, 0.15)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    # Not larger than it is: cut off at the bottom, an 8 is a 9.
    scale = np.diag(rng.uniform((0.85, 0.97), 1.2))
    slant = np.array([[1.0, rng.uniform(-0.3, 0.3)], [0.0, 1.0]])
    matrix = turn @ slant @ scale
    shift = np.array([middle, middle]) - matrix @ np.array([middle, middle])
    shift += rng.uniform(-0.3, 0.3, size=2)
    output_to_input = np.concatenate([matrix, shift[:, None]], axis=1).reshape(-1)
    drawn = Image.fromarray(glyph).transform(
        glyph.shape,
        Image.Transform.AFFINE,
        tuple(output_to_input.tolist()),
        resample=Image.Resampling.BICUBIC,
    )
    pen = rng.uniform(0.7, 1.4)
    distorted: np.ndarray = np.clip(np.asarray(drawn), 0, 1) ** np.float32(pen)
    return distorted


def _damage_and_resize(rng: np.random.Generator, frame: np.ndarray) -> np.ndarray:
    """Add block artefacts, then resizes as the image processor does.

    A JPEG of random quality stands in for H.264: the artefacts are alike (blocks, ringing,
    subsampled colour) and a frame costs a fraction of a millisecond instead of a whole clip.
    """
    buffer = BytesIO()
    Image.fromarray(frame).save(buffer, "jpeg", quality=int(rng.integers(45, 95)))
    resized = Image.open(buffer).resize((IMAGE_PX, IMAGE_PX), Image.Resampling.BICUBIC)
    return np.asarray(resized)


def normalize(pixels: torch.Tensor) -> torch.Tensor:
    """Turn `(N, H, W, 3)` uint8 into the tower's `(N, 3, H, W)` input, as the processor does."""
    return pixels.permute(0, 3, 1, 2).float() / 127.5 - 1
