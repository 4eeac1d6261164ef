"""What ``encodeonce bench`` measures on if nothing is named: a picture, a model."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from encodeonce.datasets.media import MediaKind
from encodeonce.models.random_llava import LLAVA_1_5_7B, SMALL, write_random_llava
from encodeonce.models.random_vila import VILA_1_5_3B, write_random_vila

VIDEO_SUFFIXES = (".mp4", ".mkv", ".webm", ".avi", ".mov")
LLAVAS = {"small": SMALL, "llava-1.5-7b": LLAVA_1_5_7B}
VILAS = {"vila1.5-3b": VILA_1_5_3B}


def random_model(name: str, dtype: str, folder: Path) -> str:
    """Write a model with random weights and return its path.

    Raises:
        ValueError: there is no such shape.
    """
    if name in LLAVAS:
        return str(write_random_llava(folder, LLAVAS[name], getattr(torch, dtype)))
    if name in VILAS:
        return str(write_random_vila(folder, VILAS[name], getattr(torch, dtype)))
    raise ValueError(f"no random model is called {name!r}; known: {', '.join((*LLAVAS, *VILAS))}")


def noise(folder: Path) -> Path:
    """Write a picture of noise."""
    pixels = np.random.default_rng(0).integers(0, 256, (512, 512, 3), dtype=np.uint8)
    path = folder / "noise.png"
    Image.fromarray(pixels).save(path)
    return path


def kind_of(media: Path) -> MediaKind:
    """Return whether a file is a video, by its name."""
    return "video" if media.suffix.lower() in VIDEO_SUFFIXES else "image"
