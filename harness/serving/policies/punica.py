"""Punica's policy: adapters are never merged; rows are grouped by adapter (SGMV).

Chen et al., Punica, MLSys 2024, arXiv 2310.18547, section 4.
"""

from typing import ClassVar

from encodeonce.harness.serving.policies.prefill_first import PrefillFirst


class Punica(PrefillFirst):
    """Serves the oldest first, and everybody together."""

    lora: ClassVar[str] = "grouped"


POLICY = Punica
