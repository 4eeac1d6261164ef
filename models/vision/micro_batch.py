"""Encode in batches of one fixed shape.

Kernels choose their blocking, and so their rounding, by shape. With a fixed shape a unit's features
depend on nothing but the unit, provided that its place in the batch makes no difference either.
That is measured once, on the first batch; where it does not hold, encoding is refused. Another
processor may round otherwise, and answer that question otherwise.

Shapes: U units, B micro-batch.
"""

from collections.abc import Callable, Mapping

import torch

from encodeonce.models.checkpoint.files import CheckpointError

Encode = Callable[[torch.Tensor], Mapping[str, torch.Tensor]]


class MicroBatch:
    """Wraps an encoding function so that it always sees B units."""

    def __init__(self, encode: Encode, size: int) -> None:
        self._encode = encode
        self._size = size
        self._is_checked = size == 1  # alone in its batch, a unit has one place and no neighbours

    def __call__(self, pixels_U: torch.Tensor) -> dict[str, torch.Tensor]:
        """Encode (U, ...) pixels to named (U, ...) features.

        Short batches are filled up with their last unit: with blank pictures, towers that skip
        those would see another shape.
        """
        if not self._is_checked:
            self._check_places(pixels_U[0])
            self._is_checked = True
        batches = [self._encode_filled(batch) for batch in pixels_U.split(self._size)]
        return {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}

    def _encode_filled(self, pixels: torch.Tensor) -> dict[str, torch.Tensor]:
        num_units = len(pixels)
        if num_units < self._size:
            filling = pixels[-1:].expand(self._size - num_units, *pixels.shape[1:])
            pixels = torch.cat([pixels, filling])
        return {name: array[:num_units] for name, array in self._encode(pixels).items()}

    def _check_places(self, unit: torch.Tensor) -> None:
        """Encode one unit at every place, and among different neighbours.

        Raises:
            CheckpointError: its features differ.
        """
        first = (unit + 1).expand(self._size, *unit.shape).clone()
        first[0] = unit
        last = unit.flip(-1).expand(self._size, *unit.shape).clone()
        last[-1] = unit
        everywhere = self._encode(unit.expand_as(first).clone())
        there, here = self._encode(first), self._encode(last)
        if not all(
            torch.equal(found, everywhere[name][0])
            for name in there
            for found in (*everywhere[name], there[name][0], here[name][-1])
        ):
            raise CheckpointError(
                f"vision.micro_batch {self._size}: on this device a unit's features depend on its "
                "place in the batch, so stored features would not be reproducible. "
                "Set vision.micro_batch: 1."
            )
