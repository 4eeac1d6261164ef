"""What an adapter that is trained here is made of. No torch: run files have it.

LoRA: Hu et al., 2021 (arXiv:2106.09685), section 4.1. Rank-stabilised scaling: Kalajdzievski, 2023
(arXiv:2312.03732).
"""

import math
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

LANGUAGE_LINEARS: Literal["language-linears"] = "language-linears"


class LoraForm(BaseModel):
    """What a LoRA adapter is made of."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    r: int = Field(default=8, ge=1, description="Rank of the products.")
    alpha: float = Field(
        default=16.0, gt=0.0, description="Products are scaled by alpha / r (rslora: alpha / √r)."
    )
    rslora: bool = Field(default=False, description="Rank-stabilised scaling.")
    dropout: float = Field(
        default=0.0, ge=0.0, lt=1.0, description="Of what goes into the products, while training."
    )
    target_modules: Literal["language-linears"] | tuple[str, ...] = Field(
        default=LANGUAGE_LINEARS,
        description="'language-linears': all linear layers inside the language model's layers; or "
        "the ends of such layers' names, e.g. [q_proj, v_proj]. Tower and projector are never "
        "adapted: stored features would be the adapter's own.",
    )

    @property
    def scaling(self) -> float:
        """The factor of the products."""
        return self.alpha / (math.sqrt(self.r) if self.rslora else self.r)


class HeadForm(BaseModel):
    """A linear head: classes of which the prompt's last hidden state chooses one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["linear"] = Field(default="linear", description="One linear map.")
    classes: tuple[str, ...] = Field(
        min_length=2, description="The answers that there are, as texts that the benchmark scores."
    )
    pooling: Literal["last_token"] = Field(
        default="last_token", description="Of which token the hidden state is: the prompt's last."
    )

    @model_validator(mode="after")
    def _are_different(self) -> Self:
        if twice := sorted({one for one in self.classes if self.classes.count(one) > 1}):
            raise ValueError(f"classes: {twice[0]!r} is there twice")
        if not all(one.strip() for one in self.classes):
            raise ValueError("classes: an empty text is no answer")
        return self
