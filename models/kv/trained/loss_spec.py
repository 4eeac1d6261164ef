"""The part of a training file about the loss; `loss` computes it."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class LossSpec(BaseModel):
    """Which distance a compressor learns to make small."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Literal["mix+kl", "mix", "kl"] = Field(
        default="mix+kl",
        description="'mix': FastCache's mixture, over all tokens; 'kl': KL(full || compressed) "
        "over the answer's tokens; 'mix+kl': their sum.",
    )
    alpha: float = Field(
        default=0.5, ge=0.0, le=1.0, description="Weight of the cross entropy in the mixture."
    )
    beta: float = Field(
        default=0.3, ge=0.0, le=1.0, description="Weight of the Jensen-Shannon divergence in it."
    )
    top_p: float = Field(
        default=0.9,
        gt=0.0,
        le=1.0,
        description="The cross entropy's target is the likeliest tokens of this mass together.",
    )
    hidden_weight: float = Field(
        default=0.5, ge=0.0, le=1.0, description="Weight of the hidden states in the mixture."
    )

    @model_validator(mode="after")
    def _shares(self) -> Self:
        if self.alpha + self.beta > 1.0:
            raise ValueError(
                f"alpha + beta must be at most 1; got {self.alpha:g} + {self.beta:g}. The rest is "
                "the weight of the L1 distance"
            )
        return self

    @property
    def needs_hidden(self) -> bool:
        """Whether hidden states are compared."""
        return self.name != "kl" and self.hidden_weight > 0
