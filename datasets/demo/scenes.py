"""Draw a scene: one handwritten digit moving over a slowly panning photograph."""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from encodeonce.datasets.demo.sources import Sources

FRAME_PX = 96
GLYPH_PX = 8
# Bicubic sampling needs background around the glyph, or its border strokes are cut hard.
GLYPH_MARGIN_PX = 2


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
class Scene:
    """All that decides how a scene looks at any moment.

    Attributes:
        glyph: The handwritten digit, 8x8, values 0-1.
        photograph: What is behind the digit.
        ink: RGB colour of the digit, 0-255.
        center_x_px, center_y_px: Centre of the digit in the frame.
        size_px: Height and width of the digit.
        angle_rad: Rotation of the digit.
        pan_x_px, pan_y_px: Top left corner of the visible window of the photograph.
        window_px: Height and width of that window.
        dim: Brightness of the photograph; below 1 so that the ink stands out.
        gain: Brightness of the whole frame.
    """

    glyph: np.ndarray
    photograph: Image.Image
    ink: np.ndarray
    center_x_px: Path
    center_y_px: Path
    size_px: Path
    angle_rad: Path
    pan_x_px: Path
    pan_y_px: Path
    window_px: float
    dim: float
    gain: Path


def draw_scene(rng: np.random.Generator, glyph: np.ndarray, sources: Sources) -> Scene:
    """Draw a scene's photograph, colours and motion at random around a given digit."""
    photograph = sources.photographs[rng.integers(len(sources.photographs))]
    window_px = rng.uniform(90, min(photograph.size))
    free_x_px, free_y_px = (side - window_px for side in photograph.size)
    return Scene(
        glyph=glyph,
        photograph=photograph,
        ink=rng.uniform((190, 190, 150), (255, 255, 255)).astype(np.float32),
        center_x_px=_draw_path(rng, 36, 60, wobble=1.5),
        center_y_px=_draw_path(rng, 36, 60, wobble=1.5),
        size_px=_draw_path(rng, 46, 66, wobble=1.0),
        angle_rad=_draw_path(rng, -0.2, 0.2, wobble=0.02),
        pan_x_px=_draw_path(rng, 0, free_x_px),
        pan_y_px=_draw_path(rng, 0, free_y_px),
        window_px=window_px,
        dim=rng.uniform(0.3, 0.6),
        gain=_draw_path(rng, 0.8, 1.1, wobble=0.03),
    )


def _draw_path(rng: np.random.Generator, low: float, high: float, wobble: float = 0.0) -> Path:
    """Draw a path that stays near where it began: scenes last a second."""
    start, target = rng.uniform(low, high, size=2)
    end = start + 0.4 * (target - start)
    return Path(start=start, end=end, wobble=wobble, phase=rng.uniform(0, 2 * np.pi))


def draw_ink(scene: Scene, moment: float) -> np.ndarray:
    """Return how much of each pixel is ink at a moment: `(FRAME_PX, FRAME_PX)`, values 0-1."""
    pixels_per_cell = scene.size_px.at(moment) / GLYPH_PX
    angle_rad = scene.angle_rad.at(moment)
    cos, sin = np.cos(angle_rad) / pixels_per_cell, np.sin(angle_rad) / pixels_per_cell
    center_x_px, center_y_px = scene.center_x_px.at(moment), scene.center_y_px.at(moment)
    middle = GLYPH_PX / 2 + GLYPH_MARGIN_PX
    padded = np.pad(scene.glyph, GLYPH_MARGIN_PX)
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
    background = np.asarray(visible, dtype=np.float32) * np.float32(scene.dim)
    ink = draw_ink(scene, moment)[..., None]
    frame = (background * (1 - ink) + scene.ink * ink) * np.float32(scene.gain.at(moment))
    pixels: np.ndarray = np.clip(frame, 0, 255).astype(np.uint8)
    return pixels
