"""Draw a scene: small handwritten digits at places of a grid, over a slowly panning photograph."""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from encodeonce.datasets.demo.contents import COLUMNS, Contents
from encodeonce.datasets.demo.sources import Sources

FRAME_PX = 96
CELL_PX = FRAME_PX // len(COLUMNS)
GLYPH_PX = 8
# Bicubic sampling needs background around the glyph, or its border strokes are cut hard.
GLYPH_MARGIN_PX = 2
TILE_PX = 30
TILE_RGB = {"red": (185, 25, 25), "green": (20, 130, 35), "blue": (35, 50, 205)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Path:
    """A value that moves in a straight line during a scene, with a small wobble on top."""

    start: float
    end: float
    wobble: float = 0.0
    phase: float = 0.0

    def at(self, moment: float) -> float:
        """Return the value at a moment between 0 (the scene begins) and 1 (it ends)."""
        line = self.start + (self.end - self.start) * moment
        return line + self.wobble * float(np.sin(self.phase + 9.0 * moment))


@dataclass(frozen=True, slots=True, kw_only=True)
class Writing:
    """One digit of a scene.

    Attributes:
        glyph: The handwritten digit, 8x8, values 0-1.
        ink: RGB colour of the digit, 0-255.
        center_x_px, center_y_px: Centre of the digit in the frame.
        size_px: Height and width of the digit.
        angle_rad: Rotation of the digit.
        tile_rgb: Colour of the square behind the digit, 0-255; None without a square.
        tile_corner_px: Left and top edge of the square.
    """

    glyph: np.ndarray
    ink: np.ndarray
    center_x_px: Path
    center_y_px: Path
    size_px: Path
    angle_rad: Path
    tile_rgb: np.ndarray | None
    tile_corner_px: tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """All that decides how a scene looks at any moment.

    Attributes:
        writings: The digits.
        photograph: What is behind the digits.
        pan_x_px, pan_y_px: Top left corner of the visible window of the photograph.
        window_px: Height and width of that window.
        dim: Brightness of the photograph; below 1 so that the ink stands out.
        gain: Brightness of the whole frame.
    """

    writings: tuple[Writing, ...]
    photograph: Image.Image
    pan_x_px: Path
    pan_y_px: Path
    window_px: float
    dim: float
    gain: Path


def draw_scene(
    rng: np.random.Generator, contents: Contents, glyphs: dict[int, np.ndarray], sources: Sources
) -> Scene:
    """Draw a scene's photograph, colours and motion at random around given digits.

    Args:
        rng: Source of randomness.
        contents: What the scene shows.
        glyphs: The handwritten image of each of its digits, by place.
        sources: Photographs.
    """
    photograph = sources.photographs[rng.integers(len(sources.photographs))]
    window_px = rng.uniform(90, min(photograph.size))
    free_x_px, free_y_px = (side - window_px for side in photograph.size)
    return Scene(
        writings=tuple(_draw_writing(rng, contents, place, glyphs[place]) for place in glyphs),
        photograph=photograph,
        pan_x_px=_draw_path(rng, 0, free_x_px),
        pan_y_px=_draw_path(rng, 0, free_y_px),
        window_px=window_px,
        dim=rng.uniform(0.25, 0.5),
        gain=_draw_path(rng, 0.85, 1.1, wobble=0.03),
    )


def _draw_writing(
    rng: np.random.Generator, contents: Contents, place: int, glyph: np.ndarray
) -> Writing:
    row, column = divmod(place, len(COLUMNS))
    middle_x_px, middle_y_px = (column + 0.5) * CELL_PX, (row + 0.5) * CELL_PX
    tile_rgb = None
    if contents.tile is not None and contents.tile.place == place:
        shade = rng.uniform(0.85, 1.15, size=3)
        tile_rgb = (np.array(TILE_RGB[contents.tile.color]) * shade).astype(np.float32)
    left_px, top_px = (int(middle - TILE_PX / 2) for middle in (middle_x_px, middle_y_px))
    shift_x_px, shift_y_px = rng.integers(-1, 2, size=2).tolist()
    return Writing(
        glyph=glyph,
        ink=rng.uniform((200, 200, 170), (255, 255, 255)).astype(np.float32),
        center_x_px=_draw_path(rng, middle_x_px - 2.5, middle_x_px + 2.5, wobble=0.5),
        center_y_px=_draw_path(rng, middle_y_px - 2.5, middle_y_px + 2.5, wobble=0.5),
        size_px=_draw_path(rng, 21, 26, wobble=0.3),
        angle_rad=_draw_path(rng, -0.15, 0.15, wobble=0.02),
        tile_rgb=tile_rgb,
        tile_corner_px=(left_px + shift_x_px, top_px + shift_y_px),
    )


def _draw_path(rng: np.random.Generator, low: float, high: float, wobble: float = 0.0) -> Path:
    """Draw a path that stays near where it began: scenes last a second."""
    start, target = rng.uniform(low, high, size=2)
    end = start + 0.4 * (target - start)
    return Path(start=start, end=end, wobble=wobble, phase=rng.uniform(0, 2 * np.pi))


def draw_ink(writing: Writing, moment: float) -> np.ndarray:
    """Return how much of each pixel is ink at a moment: `(FRAME_PX, FRAME_PX)`, values 0-1."""
    pixels_per_cell = writing.size_px.at(moment) / GLYPH_PX
    angle_rad = writing.angle_rad.at(moment)
    cos, sin = np.cos(angle_rad) / pixels_per_cell, np.sin(angle_rad) / pixels_per_cell
    center_x_px, center_y_px = writing.center_x_px.at(moment), writing.center_y_px.at(moment)
    middle = GLYPH_PX / 2 + GLYPH_MARGIN_PX
    padded = np.pad(writing.glyph, GLYPH_MARGIN_PX)
    # PIL asks for the map from output to input pixels: rotate back about the digit's centre.
    output_to_input = (
        cos,
        sin,
        middle - cos * center_x_px - sin * center_y_px,
        -sin,
        cos,
        middle + sin * center_x_px - cos * center_y_px,
    )
    drawn = Image.fromarray(padded).transform(
        (FRAME_PX, FRAME_PX),
        Image.Transform.AFFINE,
        output_to_input,
        resample=Image.Resampling.BICUBIC,
    )
    # The scans are soft: a steeper ramp gives strokes with an edge that people can read.
    return np.clip(1.6 * np.asarray(drawn) - 0.25, 0, 1)


def draw_frame(scene: Scene, moment: float) -> np.ndarray:
    """Return the RGB frame at a moment: `(FRAME_PX, FRAME_PX, 3)`, uint8."""
    left_px, top_px = scene.pan_x_px.at(moment), scene.pan_y_px.at(moment)
    box = (left_px, top_px, left_px + scene.window_px, top_px + scene.window_px)
    visible = scene.photograph.resize((FRAME_PX, FRAME_PX), Image.Resampling.BILINEAR, box=box)
    frame = np.asarray(visible, dtype=np.float32) * np.float32(scene.dim)
    for writing in scene.writings:
        if writing.tile_rgb is not None:
            left, top = writing.tile_corner_px
            frame[top : top + TILE_PX, left : left + TILE_PX] = writing.tile_rgb
        ink = draw_ink(writing, moment)[..., None]
        frame = frame * (1 - ink) + writing.ink * ink
    pixels: np.ndarray = np.clip(frame * np.float32(scene.gain.at(moment)), 0, 255).astype(np.uint8)
    return pixels
