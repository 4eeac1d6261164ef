"""At least one decode step between two prefills: no gap is longer than one prompt."""

from typing import ClassVar

from encodeonce.harness.serving.policy import Action, View, Wait, decode_or_wait, prepare


class DecodeFirst:
    """Decodes after every prefill."""

    may_idle: ClassVar[bool] = False

    def __init__(self) -> None:
        """Begin with nothing done."""
        self._owes_a_step = False

    def choose(self, view: View) -> Action | Wait:
        """Prepare one, then decode once."""
        ready = prepare(view)
        if ready is None or (ready.stage == "prefill" and view.running and self._owes_a_step):
            return decode_or_wait(view)
        return Action(ready.stage, ready.requests[:1]) if ready.stage == "prefill" else ready

    def done(self, action: Action, seconds: float) -> None:
        """Take note of what is owed."""
        if action.stage == "prefill":
            self._owes_a_step = True
        elif action.stage == "decode":
            self._owes_a_step = False


POLICY = DecodeFirst
