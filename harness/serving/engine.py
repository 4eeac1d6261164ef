"""The interface of engines: what carries out the actions of the scheduler, and their clocks."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from encodeonce.harness.serving.adapters.modes import UNMERGED, Mode
from encodeonce.harness.serving.policy import Stage
from encodeonce.harness.serving.request import Request

Work = Literal["encode", "prefill", "compress", "decode", "swap_out", "swap_in"]
STAGES: tuple[Work, ...] = ("encode", "prefill", "compress", "decode", "swap_out", "swap_in")


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What came of an action."""

    seconds: float
    ended: Sequence[Request] = ()
    """Whose answer is complete."""
    failed: Sequence[tuple[Request, str]] = ()
    """Who cannot be answered, and why."""


class Engine(Protocol):
    """Carries out one action at a time; stages do not overlap."""

    def run(self, work: Work, requests: Sequence[Request], mode: Mode = UNMERGED) -> Step:
        """Carry out an action, with what a mode says in the weights.

        Every request of a prefill or a decode step gets a token by it; under a setting that reads
        the question late, by its compression instead.
        """
        ...

    def drop(self, request: Request) -> None:
        """Forget what is in memory of a request, which has ended or is preempted."""
        ...

    def forget(self, media: str) -> None:
        """Forget a prefix that was shared."""
        ...

    @property
    def allocated_bytes(self) -> int:
        """Of keys and values in memory, as measured; 0 where nothing is computed."""
        ...


class Clock(Protocol):
    """Tells the time since a workload began, seconds."""

    @property
    def now_s(self) -> float:
        """The time."""
        ...

    def pass_by(self, seconds: float) -> None:
        """Let an action's seconds pass, where they have not passed by themselves."""
        ...

    def wait_until(self, until_s: float) -> None:
        """Do nothing until a time."""
        ...


class VirtualClock:
    """Goes as far as it is told."""

    def __init__(self) -> None:
        """Begin at 0."""
        self.now_s = 0.0

    def pass_by(self, seconds: float) -> None:
        """Add seconds."""
        self.now_s += seconds

    def wait_until(self, until_s: float) -> None:
        """Jump."""
        self.now_s = max(self.now_s, until_s)


class WallClock:
    """Goes by itself."""

    def __init__(self) -> None:
        """Begin now."""
        self._start_s = time.perf_counter()

    @property
    def now_s(self) -> float:
        """Seconds since it was made."""
        return time.perf_counter() - self._start_s

    def pass_by(self, seconds: float) -> None:
        """Do nothing: they have passed."""

    def wait_until(self, until_s: float) -> None:
        """Sleep."""
        time.sleep(max(0.0, until_s - self.now_s))


def first_token_stage(request: Request) -> Stage:
    """Return the stage by which a request has its first token."""
    return "compress" if request.demand.reads_late else "prefill"
