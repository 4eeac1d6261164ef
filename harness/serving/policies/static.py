"""Static batching: a batch is filled while nothing runs, and drained before the next one.

What continuous batching is compared with (Yu et al., Orca, OSDI 2022, section 2).
"""

from typing import ClassVar

from encodeonce.harness.serving.policy import Action, View, Wait, decode_or_wait, prepare


class Static:
    """Drains before it admits."""

    may_idle: ClassVar[bool] = False

    def __init__(self) -> None:
        """Begin with a batch to be filled."""
        self._is_draining = False

    def choose(self, view: View) -> Action | Wait:
        """Fill the batch; once nobody can be added, decode until it is empty."""
        if not view.admitted:
            self._is_draining = False
        if not self._is_draining or view.prefilled:
            if ready := prepare(view):
                return ready
            self._is_draining = bool(view.running)
        return decode_or_wait(view)

    def done(self, action: Action, seconds: float) -> None:
        """Remember nothing more."""


POLICY = Static
