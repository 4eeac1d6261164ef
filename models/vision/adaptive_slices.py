"""Cut pictures as MiniCPM-V does: the whole, and a grid of parts, all of about the same area.

Yao et al., MiniCPM-V, 2024 (arXiv:2408.01800), section 3.2 (adaptive visual encoding). Sizes are
multiples of the patch, near the picture's own aspect, and so differ from tile to tile: a stack of
tiles is filled up with NaN, which no pixel value is.

Shapes: U units, S slices with the whole picture first, H x W pixels.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image

from encodeonce.datasets.media.info import MediaInfo
from encodeonce.datasets.media.media import Frames
from encodeonce.models.vision.preprocessing import frame_units
from encodeonce.models.vision.visual import Unit

Size = tuple[int, int]
"""Width and height, pixels, or columns and rows."""


@dataclass(frozen=True, kw_only=True)
class Slicing:
    """How pictures and frames are cut."""

    side: int
    """Side of a square with the area of a tile, pixels."""
    patch: int
    max_slices: Mapping[str, int]
    """Most parts of a picture, and of a frame of a video, by kind of media."""
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def units(self, info: MediaInfo, frames: Sequence[int]) -> tuple[Unit, ...]:
        """Return one unit per frame: its slices together."""
        return frame_units(info, frames)

    def recipe(self, info: MediaInfo, num_frames: int) -> Mapping[str, Any]:
        """Return what decides the pixels: ``whole`` and ``sliced`` are widths and heights."""
        size = (info.width, info.height)
        grid = best_grid(size, self.side, self.max_slices[info.kind])
        whole = near_area(size, self.side, self.patch, enlarge=grid is None)
        return {
            "whole": list(whole),
            "grid": list(grid) if grid else [0, 0],
            "sliced": list(self._sliced(size, grid)) if grid else [0, 0],
            "resample": "bicubic (Pillow)",
            "mean": list(self.mean),
            "std": list(self.std),
        }

    def pixels(self, frames: Frames, recipe: Mapping[str, Any]) -> torch.Tensor:
        """Return (U, S, 3, H, W) pixels, each tile filled up with NaN on the right and below."""
        stacks = [self._tiles(frame, recipe) for frame in frames.pixels_THWC]
        height = max(tile.shape[1] for tile in stacks[0])
        width = max(tile.shape[2] for tile in stacks[0])
        filled = torch.full((len(stacks), len(stacks[0]), 3, height, width), torch.nan)
        for row, tiles in zip(filled, stacks, strict=True):
            for place, tile in zip(row, tiles, strict=True):
                place[:, : tile.shape[1], : tile.shape[2]] = tile
        return filled

    def _sliced(self, size: Size, grid: Size) -> Size:
        """Return the size to be cut by a grid, so that each part has about the area of a tile."""
        columns, rows = grid
        part = (_multiple(size[0], columns) / columns, _multiple(size[1], rows) / rows)
        width, height = near_area(part, self.side, self.patch, enlarge=True)
        return width * columns, height * rows

    def _tiles(self, frame: Any, recipe: Mapping[str, Any]) -> list[torch.Tensor]:
        image = Image.fromarray(frame)
        tiles = [image.resize(tuple(recipe["whole"]), Image.Resampling.BICUBIC)]
        columns, rows = recipe["grid"]
        if columns:
            sliced = image.resize(tuple(recipe["sliced"]), Image.Resampling.BICUBIC)
            width, height = sliced.width // columns, sliced.height // rows
            tiles += [
                sliced.crop((left, top, left + width, top + height))
                for top in range(0, height * rows, height)
                for left in range(0, width * columns, width)
            ]
        mean, std = np.float32(recipe["mean"]), np.float32(recipe["std"])
        arrays = [(np.asarray(tile, np.float32) / 255 - mean) / std for tile in tiles]
        return [torch.from_numpy(array.transpose(2, 0, 1).copy()) for array in arrays]


def best_grid(size: Size, side: int, most: int) -> Size | None:
    """Return the columns and rows whose parts are closest to squares; None for no parts."""
    wanted = min(math.ceil(size[0] * size[1] / side**2), most)
    if wanted <= 1:
        return None
    numbers = [number for number in (wanted - 1, wanted, wanted + 1) if 1 < number <= most]
    grids = [
        (columns, number // columns)
        for number in numbers
        for columns in range(1, number + 1)
        if number % columns == 0
    ]
    aspect = math.log(size[0] / size[1])
    return min(grids, key=lambda grid: abs(aspect - math.log(grid[0] / grid[1])))


def near_area(size: tuple[float, float], side: int, patch: int, *, enlarge: bool) -> Size:
    """Return the size of about ``side``² pixels with the same aspect, in multiples of a patch.

    A smaller picture keeps its own size, unless it is to be enlarged.
    """
    width, height = size
    if width * height > side**2 or enlarge:
        aspect = width / height
        height = int(side / math.sqrt(aspect))
        width = int(height * aspect)
    return _multiple(width, patch), _multiple(height, patch)


def _multiple(length: float, of: int) -> int:
    return max(round(length / of) * of, of)


def without_filling(tile: torch.Tensor) -> torch.Tensor:
    """Return (3, H, W) pixels without the rows and columns that were filled up."""
    held = ~tile[0].isnan()
    return tile[:, held.any(1)][:, :, held.any(0)]
