"""S-LoRA's policy: adapters are never merged, and batches are continuous.

Sheng et al., S-LoRA, MLSys 2024, arXiv 2311.03285, sections 4 and 5.3: rows of different adapters
share a batch, each with its own factors gathered (its kernels of decoding).
"""

from typing import ClassVar

from encodeonce.harness.serving.policies.prefill_first import PrefillFirst


class SLoRA(PrefillFirst):
    """Serves the oldest first, and everybody together."""

    lora: ClassVar[str] = "gather"


POLICY = SLoRA
