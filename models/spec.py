"""Which model, in what precision, where: the part of a run file that names a checkpoint."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Tap = Literal["tower", "projected"]


class ModelSpec(BaseModel):
    """A checkpoint and how it is loaded."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str = Field(
        description="Folder of a transformers checkpoint (safetensors), or its hub id "
        "(org/name), or 'demo' for the small model that ships with encodeonce."
    )
    revision: str | None = Field(default=None, description="Hub revision; ignored for a folder.")
    dtype: Literal["float32", "bfloat16", "float16"] = Field(
        default="bfloat16", description="Compute precision of tower and language model."
    )
    device: str = Field(
        default="auto", description="'auto' (cuda if there is one), 'cpu', 'cuda', 'cuda:1'."
    )
    attention: Literal["sdpa", "eager", "flash_attention_2"] = Field(
        default="sdpa", description="transformers attention implementation."
    )


class VisionSpec(BaseModel):
    """Where in the vision side features are taken, and how they are computed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tap: Tap = Field(
        default="tower",
        description="'tower': before the projector, shared by all models with the same tower "
        "weights; 'projected': what the language model sees, shared by variants of this model.",
    )
    micro_batch: int = Field(
        default=1,
        ge=1,
        le=256,
        description="Units encoded together. The shape is fixed (short batches are filled up), so "
        "that a unit's features do not depend on its neighbours; part of the signature.",
    )
