"""Sizes and grids of MiniCPM-V's slices: those that its released processor gives."""

import pytest
import torch

from encodeonce.models.vision.adaptive_slices import Slicing, without_filling
from tests.contracts.family import Scene, media_info


def slicing(side: int = 448, patch: int = 14, most: int = 9) -> Slicing:
    half = (0.5, 0.5, 0.5)
    slices = {"image": most, "video": 2}
    return Slicing(side=side, patch=patch, max_slices=slices, mean=half, std=half)


@pytest.mark.parametrize(
    ("size", "kind", "whole", "grid", "sliced"),
    [
        ((400, 300), "image", [518, 392], [0, 0], [0, 0]),  # enlarged
        ((448, 448), "image", [448, 448], [0, 0], [0, 0]),
        ((500, 448), "image", [476, 420], [2, 1], [672, 602]),
        ((1344, 1344), "image", [448, 448], [3, 3], [1344, 1344]),
        ((1344, 1344), "video", [448, 448], [1, 2], [630, 644]),
        ((1920, 1080), "image", [602, 336], [4, 2], [1680, 952]),
        ((1920, 1080), "video", [602, 336], [2, 1], [840, 476]),
        ((3000, 700), "image", [924, 210], [8, 1], [2576, 616]),
        ((20, 3000), "image", [42, 5488], [0, 0], [0, 0]),
    ],
)
def test_sizes_are_those_of_the_released_processor(
    size: tuple[int, int], kind: str, whole: list[int], grid: list[int], sliced: list[int]
) -> None:
    info = media_info(kind, *size, num_frames=1)  # type: ignore[arg-type]
    recipe = slicing().recipe(info, 1)
    assert (recipe["whole"], recipe["grid"], recipe["sliced"]) == (whole, grid, sliced)


def test_the_whole_comes_first_then_parts_row_by_row() -> None:
    scene = Scene("image", size=(64, 64))
    ours = slicing(side=32, patch=8, most=4)
    recipe = ours.recipe(scene.info, 1)
    assert recipe["grid"] == [2, 2]
    assert recipe["sliced"] == [64, 64]  # the picture's own size: nothing is resampled
    pixels = ours.pixels(scene.frames((0,)), recipe)
    assert pixels.shape == (1, 5, 3, 32, 32)
    picture = torch.from_numpy(scene.frames((0,)).pixels_THWC[0]).permute(2, 0, 1) / 255
    expected = (picture - 0.5) / 0.5
    for number, (top, left) in enumerate([(0, 0), (0, 32), (32, 0), (32, 32)], start=1):
        part = expected[:, top : top + 32, left : left + 32]
        assert torch.allclose(pixels[0, number], part, rtol=0, atol=1e-6)


def test_tiles_of_other_sizes_are_filled_up_and_found_again() -> None:
    scene = Scene("image", size=(88, 40))
    ours = slicing(side=32, patch=8, most=4)
    recipe = ours.recipe(scene.info, 1)
    pixels = ours.pixels(scene.frames((0,)), recipe)[0]
    shapes = [tuple(without_filling(tile).shape) for tile in pixels]
    columns, rows = recipe["grid"]
    part = (3, recipe["sliced"][1] // rows, recipe["sliced"][0] // columns)
    assert shapes == [(3, recipe["whole"][1], recipe["whole"][0]), *[part] * columns * rows]
    assert len(set(shapes)) == 2
    flipped = without_filling(pixels[0].flip(-1))
    assert torch.equal(flipped.flip(-1), without_filling(pixels[0]))
