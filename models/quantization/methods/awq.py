"""Activation-aware weight quantisation: 4 bits, made by `encodeonce quantize` or by AutoAWQ.

Lin et al., AWQ, 2023 (arXiv:2306.00978). Weights are rounded as by `rtn`, but scaled first, so that
channels with large activations lose least.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from encodeonce.models.checkpoint.loading_hooks import LoadingHooks
from encodeonce.models.quantization.checks import refuse_other_model
from encodeonce.models.quantization.made_here import check_kernel, check_made_by, stored_as
from encodeonce.models.quantization.method import Candidate, Options
from encodeonce.models.quantization.packed import Kernel, PackedHooks
from encodeonce.models.quantization.registry import WeightsError


class Awq(Options):
    """``path`` names the checkpoint."""

    display_name: ClassVar[str] = "AWQ"

    kernel: Kernel = Field(
        default=Kernel.DENSE,
        description="'dense': rounded weights in the model's precision; 'int4': PyTorch's "
        "multiplication with 4-bit weights in bfloat16, about a quarter of the memory.",
    )

    def check(self, candidate: Candidate) -> None:
        """Refuse what was not made by AWQ from this model, or has no kernel here."""
        if candidate.path is None:
            raise WeightsError(
                "weights 'awq' needs the path of a checkpoint that AWQ has made, since it takes "
                "calibration: encodeonce quantize --method awq; then "
                "{method: awq, path: FOLDER}"
            )
        refuse_other_model(candidate)
        stored = self._stored(candidate)
        PackedHooks(candidate, stored, self.kernel)
        check_kernel(candidate, self.kernel, stored)

    def loading_hooks(self, candidate: Candidate) -> LoadingHooks:
        """Return how the weights are loaded."""
        return PackedHooks(candidate, self._stored(candidate), self.kernel)

    def _stored(self, candidate: Candidate) -> Mapping[str, Any]:
        stored = stored_as(candidate, "awq", ("awq", "compressed-tensors"))
        if stored["quant_method"] != "awq":
            check_made_by(candidate, "awq")
        return stored


QUANTIZER = Awq
