"""Requests of another harness, their results, and the options that its users may set."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

from PIL import Image
from pydantic import Field, field_validator, model_validator

from encodeonce.datasets.media.media import MediaKind
from encodeonce.harness.run.config import AnswerConfig
from encodeonce.harness.run.engine import check_engine
from encodeonce.harness.run.record import CacheUse
from encodeonce.harness.run.variant import NO_ADAPTER, Variant
from encodeonce.models.adapters.spec import AdapterSpec
from encodeonce.models.engine_spec import TRANSFORMERS, EngineSpec
from encodeonce.models.kv.registry import check_kv
from encodeonce.models.kv.spec import FULL, KVSpec
from encodeonce.models.quantization.registry import load_quantizer
from encodeonce.models.spec import NONE, GenerationSpec, WeightsSpec


class VariantConfig(AnswerConfig):
    """Which model answers, under a single variant: other harnesses compare their own runs."""

    weights: WeightsSpec = Field(default=NONE, description="How the weights are held.")
    kv: KVSpec = Field(default=FULL, description="How keys and values are compressed.")
    engine: EngineSpec = Field(default=TRANSFORMERS, description="What decodes.")
    adapter: AdapterSpec | None = Field(
        default=None, description="A LoRA adapter as peft saves it; null is the base."
    )

    @field_validator("weights")
    @classmethod
    def _known_weights(cls, value: WeightsSpec) -> WeightsSpec:
        load_quantizer(value)
        Variant.of(value, FULL)  # refuses now, not later, a label that no variant's name can hold
        return value

    @field_validator("kv")
    @classmethod
    def _usable_kv(cls, value: KVSpec) -> KVSpec:
        check_kv(value)
        return value

    @field_validator("adapter", mode="before")
    @classmethod
    def _base_by_name(cls, value: Any) -> Any:
        return None if value in (NO_ADAPTER, {"path": NO_ADAPTER}) else value

    @field_validator("adapter")
    @classmethod
    def _answers_everything(cls, value: AdapterSpec | None) -> AdapterSpec | None:
        if value is not None and value.benchmarks:
            raise ValueError("'benchmarks' belongs to run files; here every request is answered")
        return value

    @property
    def variant(self) -> Variant:
        """What answers."""
        return Variant.of(self.weights, self.kv, self.adapter)

    @model_validator(mode="after")
    def _engine_has_it_all(self) -> Self:
        check_engine(self.engine, [self.kv])
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaFile:
    """A file, wherever it is: the other harness is trusted to name it."""

    kind: MediaKind
    path: Path
    clip_s: tuple[float, float] | None = None
    """Part of a video, [start, end) in seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A prompt about some media."""

    media: tuple[MediaFile | Image.Image, ...]
    prompt: str
    benchmark: str
    """Who asks: kept beside the features for information."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationRequest(Request):
    """To be answered by greedy generation."""

    generation: GenerationSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class LikelihoodRequest(Request):
    """To be answered by how likely a text is as the answer."""

    text: str


class TextScore(NamedTuple):
    """How likely a text is."""

    log_prob: float
    is_greedy: bool
    """Whether greedy generation would begin with it."""
    num_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """The cost of answering."""

    cache: CacheUse
    num_answers: int
    num_errors: int
    num_prefills: int
    num_tokens: int
    """Generated ones."""
    kv_bytes: int
    """Keys and values of prompts, uncompressed; only for answers under a compressed cache."""
    kept_kv_bytes: int
    """The part of them that was kept, as stored."""
    seconds: Mapping[str, float]
    """By stage."""
