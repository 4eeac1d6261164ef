"""Read easy-VQA's train split: pictures, the questions on them, and what these tell."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from encodeonce.datasets.benchmarks.easy_vqa import BENCHMARK, COLOURS, SHAPES, YES_OR_NO
from encodeonce.datasets.sample import Sample

UNKNOWN = -100
"""The label of what the questions and answers on a picture do not tell;
`torch.nn.functional.cross_entropy` leaves it out."""
MIN_INK_DIFFERENCE = 40
"""Backgrounds are of one colour, edges are blended: a pixel is ink where a channel differs by more
than this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pictures:
    """The pictures of a split, with what is known of them. N pictures of H x W pixels.

    Attributes:
        pixels: `(N, H, W, 3)`, uint8.
        shapes: `(N,)`, positions in `SHAPES`, or `UNKNOWN`.
        colours: `(N,)`, positions in `COLOURS`, or `UNKNOWN`.
        samples: the questions on each picture.
    """

    pixels: torch.Tensor
    shapes: torch.Tensor
    colours: torch.Tensor
    samples: Sequence[Sequence[Sample]]

    def ink(self) -> torch.Tensor:
        """Return `(N, H, W)`, whether a pixel is of the shape."""
        background = self.pixels.flatten(1, 2).median(dim=1).values[:, None, None]
        return (self.pixels.int() - background.int()).abs().amax(-1) > MIN_INK_DIFFERENCE


def load_pictures(benchmark: BENCHMARK) -> Pictures:
    """Read a split.

    Raises:
        BenchmarkError: data are missing or not as published.
    """
    about: dict[str, list[Sample]] = {}
    for sample in benchmark.samples():
        about.setdefault(sample.media[0].path, []).append(sample)
    return Pictures(
        pixels=torch.stack([_read(benchmark.media_root / path) for path in about]),
        shapes=torch.tensor([_shown(samples, SHAPES) for samples in about.values()]),
        colours=torch.tensor([_shown(samples, COLOURS) for samples in about.values()]),
        samples=list(about.values()),
    )


def words_of(question: str) -> list[str]:
    """Return a question's words."""
    return question.rstrip("?").split()


def _read(path: Path) -> torch.Tensor:
    with Image.open(path) as image:
        return torch.from_numpy(np.array(image.convert("RGB")))


def _shown(samples: Sequence[Sample], words: Sequence[str]) -> int:
    """Return which of the words is true of a picture.

    It is an answer, or something that a question takes for granted: *what color is the circle?*
    """
    for sample in samples:
        told = [sample.target]
        if sample.tags["asks"] != YES_OR_NO:
            told += words_of(sample.question)
        for position, word in enumerate(words):
            if word in told:
                return position
    return UNKNOWN
