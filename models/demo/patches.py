"""What each patch of a frame should show: the digit, the tile and the place of its cell."""

from collections.abc import Sequence

import numpy as np
import torch

from encodeonce.datasets.demo.contents import COLORS, COLUMNS, NUM_DIGITS, NUM_PLACES, Contents
from encodeonce.models.demo.architecture import IMAGE_PX, PATCH_PX

BACKGROUND = NUM_DIGITS
NO_COLOR = len(COLORS)
PATCHES_PER_SIDE = IMAGE_PX // PATCH_PX
PATCHES_PER_CELL_SIDE = PATCHES_PER_SIDE // len(COLUMNS)


def places_of_patches() -> np.ndarray:
    """Return the place in whose cell each patch of a frame lies, `(P,)`, in reading order."""
    cells = np.arange(NUM_PLACES).reshape(-1, len(COLUMNS))
    square = np.ones((PATCHES_PER_CELL_SIDE, PATCHES_PER_CELL_SIDE), dtype=np.int64)
    return np.kron(cells, square).reshape(-1)


def label_patches(contents: Sequence[Contents]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return digit and colour in the cell of each patch, both `(N, P)` int64."""
    digits = np.full((len(contents), NUM_PLACES), BACKGROUND, dtype=np.int64)
    colors = np.full((len(contents), NUM_PLACES), NO_COLOR, dtype=np.int64)
    for index, shown in enumerate(contents):
        for place, digit in shown.digits.items():
            digits[index, place] = digit
        if shown.tile is not None:
            colors[index, shown.tile.place] = COLORS.index(shown.tile.color)
    places = places_of_patches()
    return torch.from_numpy(digits[:, places]), torch.from_numpy(colors[:, places])
