"""The real images that the demo is made of, split so that nothing held out is ever trained on."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image
from skimage import data as skimage_data
from sklearn.datasets import load_digits

Split = Literal["train", "heldout"]

# Only photographs that scikit-image's documentation calls CC0 or public domain, and only those
# inside its wheel, so that building needs no download. LICENSES.md names each source.
PHOTOGRAPHS = (
    "astronaut",
    "brick",
    "camera",
    "chelsea",
    "clock",
    "coffee",
    "grass",
    "gravel",
    "hubble_deep_field",
    "retina",
    "rocket",
)
PHOTOGRAPH_HEIGHT_PX = 320
TRAIN_WIDTH_SHARE = 0.55
NUM_HELDOUT_DIGITS = 400
SPLIT_SEED = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """The images of one split.

    Attributes:
        glyphs: For each digit 0-9 its handwritten images, 8x8, values 0-1.
        photographs: RGB photographs, all `PHOTOGRAPH_HEIGHT_PX` high.
    """

    glyphs: tuple[tuple[np.ndarray, ...], ...]
    photographs: tuple[Image.Image, ...]


def load_sources(split: Split) -> Sources:
    """Load the images of one split: its own digits and its own part of every photograph."""
    return Sources(glyphs=_load_glyphs(split), photographs=_load_photographs(split))


def _load_glyphs(split: Split) -> tuple[tuple[np.ndarray, ...], ...]:
    digits = load_digits()
    order = np.random.default_rng(SPLIT_SEED).permutation(len(digits.target))
    heldout, train = order[:NUM_HELDOUT_DIGITS], order[NUM_HELDOUT_DIGITS:]
    members = train if split == "train" else heldout
    return tuple(
        tuple(digits.images[i].astype(np.float32) / 16 for i in members if digits.target[i] == d)
        for d in range(10)
    )


def _load_photographs(split: Split) -> tuple[Image.Image, ...]:
    return tuple(_part_of(getattr(skimage_data, name)(), split) for name in PHOTOGRAPHS)


def _part_of(pixels: np.ndarray, split: Split) -> Image.Image:
    """Give the left part of a photograph to training, the right part to the held-out split."""
    image = Image.fromarray(pixels).convert("RGB")
    scale = PHOTOGRAPH_HEIGHT_PX / image.height
    image = image.resize((round(image.width * scale), PHOTOGRAPH_HEIGHT_PX), Image.Resampling.BOX)
    border_px = round(image.width * TRAIN_WIDTH_SHARE)
    left_px, right_px = (0, border_px) if split == "train" else (border_px, image.width)
    return image.crop((left_px, 0, right_px, image.height))
