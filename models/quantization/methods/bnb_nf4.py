"""bitsandbytes 4-bit NF4 weights of the language model, quantised while loading."""

from typing import ClassVar

from pydantic import Field

from encodeonce.models.checkpoint.loading_hooks import LoadingHooks
from encodeonce.models.quantization.bnb import check_4bit, check_bnb, four_bit
from encodeonce.models.quantization.method import Candidate, Options


class BnbNF4(Options):
    """Blocks of 64 inputs share a scale."""

    display_name: ClassVar[str] = "bitsandbytes NF4"

    double_quant: bool = Field(
        default=False, description="Quantise the scales too: 0.37 bits a weight less."
    )

    def check(self, candidate: Candidate) -> None:
        """Refuse what bitsandbytes cannot quantise here."""
        check_bnb(candidate, "bnb-nf4")
        check_4bit(candidate, "bnb-nf4")

    def loading_hooks(self, candidate: Candidate) -> LoadingHooks:
        """Return how the weights are loaded."""
        return four_bit(candidate, "nf4", self.double_quant)


QUANTIZER = BnbNF4
