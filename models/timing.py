"""Seconds by stage, measured after the device has finished."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch


def synchronize() -> None:
    """Wait for the GPU if there is one; without this, only kernel launches would be timed."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


class Stopwatch:
    """Adds up wall-clock seconds by stage name."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a block under ``name``, even if it raises."""
        synchronize()
        start = time.perf_counter()
        try:
            yield
        finally:
            synchronize()
            self.add(name, time.perf_counter() - start)

    def add(self, name: str, seconds: float) -> None:
        """Add ``seconds`` to a stage."""
        self._seconds[name] = self._seconds.get(name, 0.0) + seconds

    def book(self, seconds: Mapping[str, float]) -> None:
        """Add seconds that were measured elsewhere, by stage."""
        for stage, value in seconds.items():
            self.add(stage, value)

    def take(self) -> dict[str, float]:
        """Return the seconds by stage since the last call, and reset to zero."""
        seconds, self._seconds = self._seconds, {}
        return seconds
