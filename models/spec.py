"""The parts of a run file about the model: its checkpoint, device, weights, and how it answers."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

Tap = Literal["tower", "projected"]


_DEVICE = re.compile(r"(auto|cpu|(cuda|hpu|mps|mtia|npu|xla|xpu)(:\d+)?)")
"""PyTorch's devices that hold numbers; whether one is there is seen when it is used."""


class RemoteCode(BaseModel):
    """The checkpoint's Python code that may be run. Branches and tags move, so they pin nothing."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    revision: str | None = Field(
        default=None,
        pattern="^[0-9a-f]{40}$",
        description="Of a hub repository: the commit whose code is run and whose weights are "
        "read, 40 hexadecimal digits.",
    )
    sha256: str | None = Field(
        default=None,
        pattern="^[0-9a-f]{64}$",
        description="Of a folder: the digest of its Python files, which the refusal without it "
        "prints.",
    )

    @model_validator(mode="after")
    def _is_pinned(self) -> Self:
        if (self.revision is None) == (self.sha256 is None):
            raise ValueError(
                "remote code is run only if it is pinned: write either 'revision' (a hub "
                "repository's commit, 40 hexadecimal digits) or 'sha256' (of a folder's code)"
            )
        return self


class ModelSpec(BaseModel):
    """A checkpoint and how it is loaded."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str = Field(
        min_length=1,
        description="Folder of a transformers checkpoint (safetensors), or its hub id "
        "(org/name), or 'demo' for the small model that ships with encodeonce.",
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
    trust_remote_code: RemoteCode | None = Field(
        default=None,
        description="Only for architectures whose code comes with the checkpoint (MiniCPM-V-2.6, "
        "Qwen-VL): which code is run. Nothing of it is, unless it is named here.",
    )

    @field_validator("device")
    @classmethod
    def _is_a_device(cls, value: str) -> str:
        if not _DEVICE.fullmatch(value):
            raise ValueError(f"must be auto, cpu, cuda or the like of cuda:1; got {value!r}")
        return value

    @model_validator(mode="after")
    def _has_one_revision(self) -> Self:
        trusted = self.trust_remote_code
        pinned = None if trusted is None else trusted.revision
        if self.revision is not None and pinned is not None and self.revision != pinned:
            raise ValueError(
                f"revision {self.revision!r} is not trust_remote_code.revision {pinned!r}: code "
                "and weights come from one commit; leave 'revision' out"
            )
        return self


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
        description="Units encoded together. The shape is fixed (short batches are padded), so "
        "that a unit's features do not depend on its neighbours; part of the signature.",
    )


class GenerationSpec(BaseModel):
    """How answers are generated: greedily, so that two runs can be compared token by token."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_new_tokens: int = Field(default=32, ge=1, description="Longest answer, in tokens.")
    max_batch: int = Field(
        default=16,
        ge=1,
        description="Answers that are decoded together, about any media: places in a batch.",
    )
    max_forks: int = Field(
        default=64,
        ge=1,
        description="Most compressed caches that are decoded together: settings times max_batch, "
        "rounded down to whole settings, at least one.",
    )
    max_cache_gib: float | None = Field(
        default=None,
        gt=0,
        description="GiB of keys and values that may wait for others to be decoded with; null: a "
        "share of what the device has free. Changes no answer.",
    )
    cuda_graphs: bool = Field(
        default=False,
        description="On a GPU, record a decode step as a CUDA graph and replay it while its shapes "
        "repeat. Nothing on a CPU.",
    )


UNCHANGED = "none"


class WeightsSpec(BaseModel):
    """A weight variant: how the language model's weights are held."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: str = Field(
        default=UNCHANGED,
        description="File name in quantization/methods/, e.g. 'bnb-nf4'; 'none' leaves the model "
        "as it is.",
    )
    path: str | None = Field(
        default=None,
        description="Folder or hub id of an already quantised checkpoint; the language "
        "side is taken from it, everything else from model.path.",
    )
    label: str | None = Field(default=None, description="Name in records and reports.")
    options: dict[str, Any] = Field(default_factory=dict, description="The method's own options.")

    @model_validator(mode="before")
    @classmethod
    def _from_a_name(cls, value: Any) -> Any:
        if isinstance(value, Mapping) and "kv" in value:
            raise ValueError(
                "the KV cache is compressed after the weights are loaded, so 'kv' is a key of its "
                "own beside 'weights'; every variant is combined with every setting"
            )
        return {"method": value} if isinstance(value, str) else value

    @property
    def title(self) -> str:
        """The variant's name in records, and its part of the id."""
        if self.label:
            return self.label
        name = self.method
        if self.path is not None:
            name += f":{Path(self.path).name}"
        if self.options:
            options = (k if v is True else f"{k}={v}" for k, v in sorted(self.options.items()))
            name += f"({','.join(options)})"
        return name

    @property
    def is_none(self) -> bool:
        """Whether the model is loaded unchanged."""
        return self.method == UNCHANGED


NONE = WeightsSpec()
