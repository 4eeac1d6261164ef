"""peft's mixed batches under a continuous scheduler: a loop over adapters in every layer.

What its operators cost is measured with peft itself (`encodeonce bench costs`).
"""

from typing import ClassVar

from encodeonce.harness.serving.policies.prefill_first import PrefillFirst


class PeftMixed(PrefillFirst):
    """Serves the oldest first, and everybody together."""

    lora: ClassVar[str] = "peft"


POLICY = PeftMixed
