"""The state of a workload over time."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """The state at one moment."""

    time_s: float
    running: int
    waiting: int
    reserved_kv_bytes: int


class Monitor:
    """Notes the state at regular times; between two actions it does not change."""

    def __init__(self, every_s: float) -> None:
        """Note the state every so many seconds."""
        self._every_s = every_s
        self._state = (0, 0, 0)
        self.samples: list[Sample] = []

    def note(self, now_s: float, running: int, waiting: int, reserved: int) -> None:
        """Take the state from now on; what was due before is noted as it was."""
        while (due_s := len(self.samples) * self._every_s) < now_s:
            before = self._state
            self.samples.append(
                Sample(
                    time_s=round(due_s, 6),
                    running=before[0],
                    waiting=before[1],
                    reserved_kv_bytes=before[2],
                )
            )
        self._state = (running, waiting, reserved)
