"""Draw a label: a coloured plate with a short text, pasted over a frame."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

_BLACK, _WHITE = (0, 0, 0), (255, 255, 255)

COLOURS: Mapping[str, tuple[tuple[int, int, int], tuple[int, int, int]]] = {
    "red": ((200, 25, 30), _WHITE),
    "green": ((20, 125, 50), _WHITE),
    "blue": ((25, 65, 200), _WHITE),
    "yellow": ((250, 215, 40), _BLACK),
    "white": (_WHITE, _BLACK),
    "black": (_BLACK, _WHITE),
    "purple": ((125, 40, 165), _WHITE),
    "orange": ((245, 135, 15), _BLACK),
}
"""Names of the plates' colours: the plate and the text, RGB."""

LEAST_HEIGHT_PX = 10
"""The least height of a label: below it, the text on it is a smear."""

_TEXT_SHARE = 0.75
"""Height of the text, as a fraction of its plate's."""
_WIDEST = 0.95
"""Widest label, as a fraction of the frame's width: longer texts are written smaller."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """What is drawn, and where."""

    colour: str
    """Of `COLOURS`."""
    text: str
    x: float
    """Where the label lies between the left border, 0, and the right one, 1."""
    y: float
    """Where it lies between the upper border, 0, and the lower one, 1."""


def with_label(
    pixels_HWC: np.ndarray[Any, np.dtype[np.uint8]], label: Label, height: float
) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return a copy of a frame with a label over it, in the font that Pillow ships.

    Args:
        pixels_HWC: (H, W, 3), RGB.
        label: what to draw.
        height: of the label, as a fraction of H.
    """
    plate_colour, text_colour = COLOURS[label.colour]
    frame = Image.fromarray(pixels_HWC)
    plate_px = round(height * frame.height)
    font = ImageFont.load_default(_TEXT_SHARE * plate_px)
    room_px = _WIDEST * frame.width - plate_px / 2
    if (width_px := font.getlength(label.text)) > room_px:
        font = ImageFont.load_default(_TEXT_SHARE * plate_px * room_px / width_px)
    size_px = (round(font.getlength(label.text) + plate_px / 2), plate_px)
    left, top = (
        round(place * max(0, side - own))
        for place, side, own in zip((label.x, label.y), frame.size, size_px, strict=True)
    )
    draw = ImageDraw.Draw(frame)
    corner = (left + size_px[0] - 1, top + size_px[1] - 1)
    # The edge is seen on a picture of the plate's colour, too.
    edge_px = max(1, plate_px // 16)
    draw.rectangle(((left, top), corner), fill=plate_colour, outline=text_colour, width=edge_px)
    middle = (left + size_px[0] / 2, top + size_px[1] / 2)
    draw.text(middle, label.text, font=font, fill=text_colour, anchor="mm")
    return np.asarray(frame)
