"""bitsandbytes LLM.int8() weights of the language model, quantised while loading."""

from typing import ClassVar

from pydantic import Field

from encodeonce.models.checkpoint.loading_hooks import LoadingHooks
from encodeonce.models.quantization.bnb import check_bnb, eight_bit
from encodeonce.models.quantization.method import Candidate, Options


class BnbInt8(Options):
    """Rows share a scale; so do the activations they meet, but for outliers.

    Which activations are outliers is decided over a whole batch, so questions and compressed caches
    are computed one at a time, unless ``threshold`` is 0.
    """

    display_name: ClassVar[str] = "bitsandbytes LLM.int8()"

    threshold: float = Field(
        default=6.0,
        ge=0,
        description="Activations beyond it are multiplied in float16; 0 treats all alike. Other "
        "than 0, questions are answered one at a time: outliers are looked for over a whole batch.",
    )

    def check(self, candidate: Candidate) -> None:
        """Refuse what bitsandbytes cannot quantise here."""
        check_bnb(candidate, "bnb-int8")

    def loading_hooks(self, candidate: Candidate) -> LoadingHooks:
        """Return how the weights are loaded."""
        return eight_bit(self.threshold)


QUANTIZER = BnbInt8
