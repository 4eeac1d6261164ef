"""Stops a stage in which too much fails."""

from encodeonce.jobs.execution.executor import WorkStopped


class TooManyFailed(WorkStopped):
    """More has failed than the run file allows."""


class FailureLimit:
    """Counts what fails in a stage, and stops it beyond a limit."""

    def __init__(self, most: int | None, *, num_total: int, unit: str) -> None:
        """Begin with no failure.

        Args:
            most: how many may fail; None for any number.
            num_total: what the stage has to do in all.
            unit: what is counted, e.g. ``"answers"``.
        """
        self._most = most
        self._num_total = num_total
        self._unit = unit
        self._num_failed = 0

    def add(self, num_failed: int, last: str) -> None:
        """Count failures. Call it after they were recorded.

        Args:
            num_failed: how many there are now in addition.
            last: why the last one failed.

        Raises:
            TooManyFailed: there are more than the limit.
        """
        self._num_failed += num_failed
        if self._most is None or self._num_failed <= self._most:
            return
        raise TooManyFailed(
            f"{self._num_failed} of {self._num_total} {self._unit} failed, and workers.max_failed "
            f"allows {self._most}; the last one: {last}. Mend the cause or raise the limit"
        )
