"""Copies between host and device that neither side waits for.

A copy of ordinary memory to or from a GPU stops the host until the GPU has done all that it was
given before; a copy of pinned memory does not.
"""

from collections.abc import Sequence

import torch


def upload(numbers: Sequence[int], device: torch.device) -> torch.Tensor:
    """Return whole numbers as a tensor on a device."""
    found = torch.tensor(numbers, dtype=torch.long)
    if device.type != "cuda":
        return found.to(device)
    return found.pin_memory().to(device, non_blocking=True)


class Download:
    """Tensors on their way to the host."""

    def __init__(self, *tensors: torch.Tensor) -> None:
        """Send tensors as they will be when the device gets there."""
        # With non_blocking, PyTorch takes pinned memory for the copy.
        self._copies = [tensor.to("cpu", non_blocking=True) for tensor in tensors]
        self._arrival: torch.cuda.Event | None = None
        if tensors[0].device.type == "cuda":
            self._arrival = torch.cuda.Event()
            self._arrival.record()

    def take(self) -> list[torch.Tensor]:
        """Wait for them, and return them."""
        if self._arrival is not None:
            self._arrival.synchronize()
        return self._copies
