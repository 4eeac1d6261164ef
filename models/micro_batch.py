"""Encoding in batches of one fixed shape.

Kernels pick their blocking, and so their rounding, by shape. With a fixed shape a unit's features
depend on nothing but the unit, provided that its place in the batch makes no difference either;
that is measured once, on the first batch, and refused where it does not hold.

Shapes: U units, B micro-batch.
"""

from collections.abc import Callable

import torch

from encodeonce.models.checkpoint import CheckpointError

Encode = Callable[[torch.Tensor], torch.Tensor]


class MicroBatch:
    """Wraps an encoding function so that it always sees B units."""

    def __init__(self, encode: Encode, size: int) -> None:
        self._encode = encode
        self._size = size
        self._is_checked = size == 1  # alone in its batch, a unit has one place and no neighbours

    def __call__(self, pixels_U: torch.Tensor) -> torch.Tensor:
        """Encode (U, ...) pixels to (U, ...) features; short batches are filled with zeros."""
        if not self._is_checked:
            self._check_places(pixels_U[0])
            self._is_checked = True
        batches = [self._encode_filled(batch) for batch in pixels_U.split(self._size)]
        return torch.cat(batches)

    def _encode_filled(self, pixels: torch.Tensor) -> torch.Tensor:
        num_units = len(pixels)
        if num_units < self._size:
            filling = pixels.new_zeros((self._size - num_units, *pixels.shape[1:]))
            pixels = torch.cat([pixels, filling])
        return self._encode(pixels)[:num_units]

    def _check_places(self, unit: torch.Tensor) -> None:
        """Encode one unit at the first and last place, among different neighbours.

        Raises:
            CheckpointError: its features differ.
        """
        first = unit.new_zeros((self._size, *unit.shape))
        first[0] = unit
        last = unit.flip(-1).expand(self._size, *unit.shape).clone()
        last[-1] = unit
        if not torch.equal(self._encode(first)[0], self._encode(last)[-1]):
            raise CheckpointError(
                f"vision.micro_batch {self._size}: on this device a unit's features depend on its "
                "place in the batch, so stored features would not be reproducible. "
                "Set vision.micro_batch: 1."
            )
