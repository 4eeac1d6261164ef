"""Labels lie within the frame, are as high as asked for, and can be told from any picture."""

from typing import Any

import numpy as np
import pytest

from encodeonce.datasets.needle.label import COLOURS, Label, with_label


def changed(pixels_HWC: np.ndarray[Any, Any], label: Label, height: float) -> tuple[slice, slice]:
    """Return the rows and the columns that a label covers."""
    differs = (with_label(pixels_HWC, label, height) != pixels_HWC).any(axis=2)
    rows, columns = np.flatnonzero(differs.any(axis=1)), np.flatnonzero(differs.any(axis=0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


@pytest.mark.parametrize("size", [(100, 200), (300, 60), (40, 40)])
@pytest.mark.parametrize("place", [(0.0, 0.0), (1.0, 1.0), (0.5, 0.25)])
def test_a_label_lies_within_the_frame(size: tuple[int, int], place: tuple[float, float]) -> None:
    # Grey is no label's colour, so every pixel of the label differs.
    frame = np.full((*size, 3), 99, dtype=np.uint8)
    x, y = place
    label = Label(colour="red", text="butterfly", x=x, y=y)
    rows, columns = changed(frame, label, 0.3)
    assert rows.stop - rows.start == round(0.3 * size[0])
    assert columns.stop - columns.start <= size[1]
    left, right = columns.start, size[1] - columns.stop
    above, below = rows.start, size[0] - rows.stop
    assert left == pytest.approx(x * (left + right), abs=1)
    assert above == pytest.approx(y * (above + below), abs=1)


@pytest.mark.parametrize("colour", COLOURS)
def test_a_label_is_seen_on_its_own_colour(colour: str) -> None:
    plate, _ = COLOURS[colour]
    frame = np.broadcast_to(np.uint8(plate), (60, 90, 3))
    rows, columns = changed(frame, Label(colour=colour, text="7", x=0.5, y=0.5), 0.5)
    assert rows.stop - rows.start == 30
    assert columns.stop - columns.start > 15


def test_the_frame_that_was_given_stays() -> None:
    frame = np.zeros((40, 40, 3), dtype=np.uint8)
    with_label(frame, Label(colour="white", text="7", x=0, y=0), 0.5)
    assert not frame.any()
