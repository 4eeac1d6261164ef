"""The run file of ``encodeonce train compressor``: every key with its meaning and default."""

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from encodeonce.datasets.options import LocalPath
from encodeonce.harness.run.config import (
    CacheSpec,
    QuestionsConfig,
    RunConfig,
)
from encodeonce.harness.run.workers_spec import WorkersSpec
from encodeonce.models.kv.trained.files import read_header
from encodeonce.models.kv.trained.header import CompressorForm
from encodeonce.models.kv.trained.loss import LossSpec
from encodeonce.models.kv.trained.source import find_compressor
from encodeonce.models.quantization.method import load_quantizer
from encodeonce.models.spec import NONE, WeightsSpec

CHANGES_NO_STEP = ("workers", "output", "stop", "cache")
"""Fields that say how far to go, on what and where to; with them `optim.max_steps`."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class CompressorSpec(CompressorForm):
    """What is trained."""

    scope: Literal["question", "media"] = Field(
        default="media",
        description="What is compressed: the media's part alone, or each prompt with its question.",
    )
    dropout: float = Field(
        default=0.0, ge=0.0, lt=1.0, description="Behind both inner layers, while training."
    )
    init_from: str | None = Field(
        default=None,
        description="Folder of a compressor of the same form to begin from, or the name of one "
        "that ships.",
    )

    @field_validator("init_from")
    @classmethod
    def _is_a_compressor(cls, value: str | None) -> str | None:
        """Return the absolute path: workers may have other working folders."""
        if value is None:
            return None
        folder = find_compressor(value)
        read_header(folder)
        return str(folder)


class DataSpec(_Strict):
    """What it is trained on."""

    max_samples: int | None = Field(
        default=None, ge=1, description="Only the first so many samples of each benchmark."
    )
    held_out: float = Field(
        default=0.1,
        gt=0.0,
        lt=1.0,
        description="Fraction of the media that only validation sees; at least one.",
    )
    recombine_units: bool = Field(
        default=False,
        description="Draw each prefix's units (frames) from all training media, so that a few "
        "clips give as many prefixes as are wanted.",
    )
    num_prefixes: int = Field(
        default=96, ge=1, description="Recombined prefixes, if units are recombined."
    )
    questions_per_prefix: int = Field(default=8, ge=1, description="Questions of a lesson.")
    answer: Literal["teacher", "reference"] = Field(
        default="teacher",
        description="'teacher': answers are the full cache's own; 'reference': the samples' "
        "targets.",
    )
    answer_tokens: int = Field(default=64, ge=1, description="Most tokens of an answer.")
    teacher_cache_gib: float = Field(
        default=4.0,
        ge=0.0,
        description="Memory, on the model's device, for prefixes and the teacher's outputs; what "
        "does not fit is computed again.",
    )

    @model_validator(mode="after")
    def _references_are_about_whole_media(self) -> "DataSpec":
        if self.recombine_units and self.answer == "reference":
            raise ValueError(
                "recombine_units makes media that no reference is about; use answer: teacher"
            )
        return self


class OptimSpec(_Strict):
    """How it is trained: Adam on the compressor's weights alone."""

    lr: float = Field(default=2e-3, gt=0.0, description="Learning rate at its highest.")
    max_steps: int = Field(default=2000, ge=1, description="Steps in all.")
    warmup_steps: int = Field(default=50, ge=0, description="Steps in which the rate rises.")
    schedule: Literal["linear", "cosine", "constant", "plateau"] = Field(
        default="linear",
        description="How the rate falls after that: to 0 at max_steps, or by half after two "
        "validations without gain ('plateau').",
    )
    prefixes_per_step: int = Field(
        default=1,
        ge=1,
        description="Lessons whose gradients are added up; workers share them, so their number "
        "changes no step.",
    )
    clip: float = Field(default=1.0, gt=0.0, description="Largest norm of a gradient.")
    seed: int = Field(default=0, ge=0, description="Decides weights, lessons and dropout.")


class ValidationSpec(_Strict):
    """How it is judged meanwhile."""

    every_steps: int = Field(default=100, ge=1, description="Steps between two validations.")
    samples: int = Field(default=64, ge=1, description="Held-out questions.")


class StopSpec(_Strict):
    """When to end before `optim.max_steps`."""

    metric: Literal["kl", "agreement"] = Field(
        default="kl", description="What has to improve; also what the best step is chosen by."
    )
    patience: int | None = Field(
        default=None, ge=1, description="Validations without gain; null for no limit."
    )
    max_minutes: float | None = Field(
        default=None,
        gt=0.0,
        description="Of this command, which then validates and ends; repeated, it goes on.",
    )


class TrainCompressorConfig(QuestionsConfig):
    """A compressor to train for a model, from the stored features of a benchmark's media."""

    weights: WeightsSpec = Field(
        default=NONE, description="The weight variant whose cache is compressed."
    )
    compressor: CompressorSpec
    data: DataSpec = Field(default_factory=DataSpec)
    loss: LossSpec = Field(default_factory=LossSpec)
    optim: OptimSpec = Field(default_factory=OptimSpec)
    validation: ValidationSpec = Field(default_factory=ValidationSpec)
    stop: StopSpec = Field(default_factory=StopSpec)
    cache: CacheSpec = Field(
        default_factory=CacheSpec,
        description="The feature store. What it lacks is encoded, unless on_miss says otherwise.",
    )
    workers: WorkersSpec = Field(
        default_factory=lambda: WorkersSpec(executor="local"),
        description="'local': this process, or those of torchrun; 'ray': Ray Train.",
    )
    output: LocalPath = Field(
        description="Folder of the compressor; the same folder resumes the training."
    )

    @model_validator(mode="after")
    def _can_be_loaded(self) -> "TrainCompressorConfig":
        load_quantizer(self.weights)
        return self

    @property
    def on_miss(self) -> Literal["error", "encode"]:
        """What to do about missing features."""
        return self.cache.on_miss if "on_miss" in self.cache.model_fields_set else "encode"

    def as_run(self) -> RunConfig:
        """Return a run over the same questions, for planning."""
        shared = {name: getattr(self, name) for name in QuestionsConfig.model_fields}
        return RunConfig(
            **shared,
            weights=(self.weights,),
            limit=self.data.max_samples,
            output=Path(self.output),
        )

    def step_fields(self) -> dict[str, Any]:
        """Return the fields that decide what a step does."""
        content = self.model_dump(mode="json", exclude=set(CHANGES_NO_STEP))
        content["model"].pop("device")
        if self.optim.schedule not in ("linear", "cosine"):
            content["optim"].pop("max_steps")
        return content
