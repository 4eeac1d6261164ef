"""Whoever waits and fits is made ready before the next decode step: short waits, long gaps."""

from typing import ClassVar

from encodeonce.harness.serving.policy import Action, View, Wait, decode_or_wait, prepare


class PrefillFirst:
    """Prepares before it decodes."""

    may_idle: ClassVar[bool] = False

    def choose(self, view: View) -> Action | Wait:
        """Prepare while somebody can be; else decode."""
        return prepare(view) or decode_or_wait(view)

    def done(self, action: Action, seconds: float) -> None:
        """Remember nothing."""


POLICY = PrefillFirst
