"""bitsandbytes LLM.int8() weights of the language model, quantised while loading."""

from typing import ClassVar

from pydantic import Field

from encodeonce.models.checkpoint.loading_hooks import Treatment
from encodeonce.models.quantization.bnb import check_bnb, eight_bit
from encodeonce.models.quantization.method import Candidate, Options


class BnbInt8(Options):
    """Rows share a scale; so do the activations they meet, but for outliers."""

    display_name: ClassVar[str] = "bitsandbytes LLM.int8()"

    threshold: float = Field(
        default=6.0,
        ge=0,
        description="Activations beyond it are multiplied in float16; 0 treats all alike.",
    )

    def check(self, candidate: Candidate) -> None:
        """Refuse what bitsandbytes cannot quantise here."""
        check_bnb(candidate, "bnb-int8")

    def treatment(self, candidate: Candidate) -> Treatment:
        """Return how the weights are loaded."""
        return eight_bit(self.threshold)


QUANTIZER = BnbInt8
