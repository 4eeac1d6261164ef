"""What the run files of all trainings have in common: every key with its meaning and default."""

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from encodeonce.datasets.options import LocalPath
from encodeonce.harness.run.cache_spec import CacheSpec
from encodeonce.harness.run.config import QuestionsConfig, RunConfig
from encodeonce.harness.run.workers_spec import WorkersSpec
from encodeonce.models.quantization.registry import load_quantizer
from encodeonce.models.spec import NONE, WeightsSpec

CHANGES_NO_STEP = ("workers", "output", "stop", "cache")
"""Fields that say how far to go, on what and where to; with them `optim.max_steps`."""


class Strict(BaseModel):
    """A section: unknown keys are refused, and nothing changes later."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class LessonsSpec(Strict):
    """What is learnt from."""

    max_samples: int | None = Field(
        default=None, ge=1, description="Only the first so many samples of each benchmark."
    )
    held_out: float = Field(
        default=0.1,
        gt=0.0,
        lt=1.0,
        description="Fraction of the media that only validation sees; at least one.",
    )
    questions_per_prefix: int = Field(default=8, ge=1, description="Questions of a lesson.")
    answer_tokens: int = Field(default=64, ge=1, description="Most tokens of an answer.")


class OptimSpec(Strict):
    """How it is trained: Adam on the new weights alone."""

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


class ValidationSpec(Strict):
    """How it is judged meanwhile."""

    every_steps: int = Field(default=100, ge=1, description="Steps between two validations.")
    samples: int = Field(default=64, ge=1, description="Held-out questions.")


class StopSpec(Strict):
    """When to end before `optim.max_steps`."""

    patience: int | None = Field(
        default=None, ge=1, description="Validations without gain; null for no limit."
    )
    max_minutes: float | None = Field(
        default=None,
        gt=0.0,
        description="Of this command, which then validates and ends; repeated, it goes on.",
    )


class TrainConfig(QuestionsConfig):
    """Something to train for a model, from the stored features of a benchmark's media."""

    weights: WeightsSpec = Field(
        default=NONE, description="The weight variant beside which it is trained."
    )
    data: LessonsSpec = Field(default_factory=LessonsSpec)
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
        description="Folder of what is trained; the same folder resumes the training."
    )

    @model_validator(mode="after")
    def _can_be_loaded(self) -> "TrainConfig":
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
