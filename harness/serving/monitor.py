"""The state of a workload over time."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

Probe = Callable[[], Mapping[str, float]]
"""Returns what a machine says of itself, by column."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """The state at one moment."""

    time_s: float
    running: int
    waiting: int
    reserved_kv_bytes: int
    machine: Mapping[str, float] = field(default_factory=dict)
    """What a probe has found; of virtual time, nothing."""


class Monitor:
    """Notes the state at regular times; between two actions it does not change."""

    def __init__(self, every_s: float, probe: Probe | None = None) -> None:
        """Note the state, and what the probe finds, every so many seconds."""
        self._every_s, self._probe = every_s, probe
        self._state = (0, 0, 0)
        self.samples: list[Sample] = []

    def note(self, now_s: float, running: int, waiting: int, reserved: int) -> None:
        """Take the state from now on; what was due before is noted as it was."""
        machine: Mapping[str, float] = {}
        if self._probe is not None and len(self.samples) * self._every_s < now_s:
            machine = self._probe()
        while (due_s := len(self.samples) * self._every_s) < now_s:
            before = self._state
            self.samples.append(
                Sample(
                    time_s=round(due_s, 6),
                    running=before[0],
                    waiting=before[1],
                    reserved_kv_bytes=before[2],
                    machine=machine,
                )
            )
        self._state = (running, waiting, reserved)
