"""The run file of ``encodeonce train adapter``: every key with its meaning and default."""

from typing import Literal

from pydantic import Field, field_validator, model_validator

from encodeonce.datasets.options import LocalPath
from encodeonce.harness.run.config import BenchmarkSpec
from encodeonce.harness.training.config import (
    LessonsSpec,
    OptimSpec,
    StopSpec,
    TrainConfig,
    ValidationSpec,
)
from encodeonce.models.adapters.form import HeadForm, LoraForm
from encodeonce.models.adapters.spec import AdapterSpec
from encodeonce.models.spec import NONE, WeightsSpec


class LoraSpec(LoraForm):
    """What is trained."""

    init_from: AdapterSpec | None = Field(
        default=None, description="An adapter of the same form to begin with; null for a new one."
    )

    @field_validator("init_from")
    @classmethod
    def _is_the_same_anywhere(cls, value: AdapterSpec | None) -> AdapterSpec | None:
        return value and value.for_workers()

    def form(self) -> LoraForm:
        """Return what the adapter is made of."""
        return LoraForm(**{name: getattr(self, name) for name in LoraForm.model_fields})


class AdapterDataSpec(LessonsSpec):
    """What it is trained on."""

    labels: LocalPath | None = Field(
        default=None,
        description="A .jsonl file of answers to learn, in place of the samples' targets: "
        '{"id": …, "answer": …}, with "benchmark" where there are several. Samples without a label '
        "are not learnt from.",
    )


class AdapterOptimSpec(OptimSpec):
    """How it is trained: Adam on the adapter's factors alone."""

    lr: float = Field(default=1e-3, gt=0.0, description="Learning rate at its highest.")
    max_steps: int = Field(default=300, ge=1, description="Steps in all.")
    warmup_steps: int = Field(default=20, ge=0, description="Steps in which the rate rises.")


class AdapterValidationSpec(ValidationSpec):
    """How it is judged meanwhile."""

    every_steps: int = Field(default=50, ge=1, description="Steps between two validations.")
    samples: int = Field(
        default=64, ge=1, description="Held-out questions of each benchmark, most."
    )


class AdapterStopSpec(StopSpec):
    """When to end before `optim.max_steps`."""

    metric: Literal["accuracy", "loss"] = Field(
        default="accuracy",
        description="What has to improve, on the mean over benchmarks; also what the best step is "
        "chosen by. Of equal accuracies, the lower loss is better.",
    )


class TrainAdapterConfig(TrainConfig):
    """A LoRA adapter to train for a model, from the stored features of benchmarks' media."""

    weights: WeightsSpec = Field(
        default=NONE, description="The weight variant beside which it is trained."
    )
    check: tuple[BenchmarkSpec, ...] = Field(
        default=(),
        description="Benchmarks about other media that judge it; without any, some of the media of "
        "`benchmarks` are held out.",
    )
    lora: LoraSpec = Field(default_factory=LoraSpec)
    head: HeadForm | None = Field(
        default=None,
        description="A linear head to train with it, for answers out of a list: scoring: head in a "
        "run.",
    )
    data: AdapterDataSpec = Field(default_factory=AdapterDataSpec)
    optim: AdapterOptimSpec = Field(default_factory=AdapterOptimSpec)
    validation: AdapterValidationSpec = Field(default_factory=AdapterValidationSpec)
    stop: AdapterStopSpec = Field(default_factory=AdapterStopSpec)
    output: LocalPath = Field(
        description="Folder of the adapter; the same folder resumes the training."
    )

    @model_validator(mode="after")
    def _answers_are_written(self) -> "TrainAdapterConfig":
        for spec in (*self.benchmarks, *self.check):
            if spec.scoring != "generate":
                raise ValueError(
                    f"{spec.title!r} has scoring: {spec.scoring}; an adapter learns to write "
                    "answers, and is judged by what it writes: leave scoring out"
                )
        return self

    def placed_benchmarks(self) -> list[tuple[tuple[str | int, ...], BenchmarkSpec]]:
        """Return the benchmarks of the file, each with its place in it."""
        checks = [(("check", number), spec) for number, spec in enumerate(self.check)]
        return [*super().placed_benchmarks(), *checks]
