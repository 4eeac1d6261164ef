"""First come, first served: the oldest request goes through every stage before the next begins."""

from typing import ClassVar

from encodeonce.harness.serving.policy import (
    PREPARING,
    Action,
    View,
    Wait,
    decode_or_wait,
    may_admit,
)


class FirstComeFirstServed:
    """Serves the oldest of all that are not running yet, one at a time."""

    may_idle: ClassVar[bool] = False

    def choose(self, view: View) -> Action | Wait:
        """Take the oldest on; decode when nobody waits, or nobody fits."""
        for stage in PREPARING:
            if queue := view.queue(stage):
                oldest = queue[:1]
                if stage == "prefill" and not may_admit(view, oldest):
                    break
                return Action(stage, oldest)
        return decode_or_wait(view)

    def done(self, action: Action, seconds: float) -> None:
        """Remember nothing."""


POLICY = FirstComeFirstServed
