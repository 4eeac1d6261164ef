"""The part of a run file about who decodes: transformers, or vLLM."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class EngineSpec(BaseModel):
    """What decodes answers from stored features."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Literal["transformers", "vllm"] = Field(
        default="transformers",
        description="'transformers', with everything that this program adds to it, or 'vllm': "
        "vLLM, given projected features as embeddings.",
    )
    tensor_parallel: int = Field(
        default=1, ge=1, description="vllm: GPUs that share one worker's model."
    )
    kv_cache_gib: float | None = Field(
        default=None,
        gt=0,
        description="vllm: GiB of a worker's keys and values; null: what is left of gpu_memory on "
        "a GPU, 2 on a CPU.",
    )
    gpu_memory: float = Field(
        default=0.9,
        gt=0,
        le=1,
        description="vllm: share of a GPU's memory that a worker takes, weights included.",
    )
    kv_cache_dtype: Literal["auto", "fp8"] = Field(
        default="auto", description="vllm: precision of keys and values; 'auto' is the model's."
    )
    block_size: int | None = Field(
        default=None,
        ge=1,
        description="vllm: tokens of a block of its cache; prefixes are shared by whole blocks.",
    )
    eager: bool | None = Field(
        default=None,
        description="vllm: neither compile the model nor record CUDA graphs; null: on a CPU.",
    )

    @model_validator(mode="before")
    @classmethod
    def _from_a_name(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _nothing_for_nobody(self) -> "EngineSpec":
        fields = type(self).model_fields
        # A run that has been written down has all fields: defaults ask for nothing.
        given = sorted(
            name
            for name in self.model_fields_set - {"name"}
            if getattr(self, name) != fields[name].default
        )
        if self.name == "transformers" and given:
            raise ValueError(
                f"{', '.join(given)}: only for 'vllm'; write name: vllm, or leave them out"
            )
        return self

    @property
    def is_vllm(self) -> bool:
        """Whether vLLM decodes."""
        return self.name == "vllm"


TRANSFORMERS = EngineSpec()


def engine_fields(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return a run's fields less its engine where transformers decodes.

    A run's fingerprint is the digest of its fields, and earlier versions had no engine.
    """
    left = dict(content)
    if left["engine"]["name"] == TRANSFORMERS.name:
        left.pop("engine")
    return left
