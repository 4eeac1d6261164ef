"""The run file of ``encodeonce train compressor``: every key with its meaning and default."""

from typing import Literal

from pydantic import Field, field_validator, model_validator

from encodeonce.datasets.options import LocalPath
from encodeonce.harness.training.config import LessonsSpec, StopSpec, TrainConfig
from encodeonce.models.kv.trained.header import CompressorForm, find_compressor, read_header
from encodeonce.models.kv.trained.loss_spec import LossSpec
from encodeonce.models.spec import NONE, WeightsSpec


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


class DataSpec(LessonsSpec):
    """What it is trained on."""

    recombine_units: bool = Field(
        default=False,
        description="Draw each prefix's units (frames) from all training media, so that a few "
        "clips give as many prefixes as are wanted.",
    )
    num_prefixes: int = Field(
        default=96, ge=1, description="Recombined prefixes, if units are recombined."
    )
    answer: Literal["teacher", "reference"] = Field(
        default="teacher",
        description="'teacher': answers are the full cache's own; 'reference': the samples' "
        "targets.",
    )
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


class CompressorStopSpec(StopSpec):
    """When to end before `optim.max_steps`."""

    metric: Literal["kl", "agreement"] = Field(
        default="kl", description="What has to improve; also what the best step is chosen by."
    )


class TrainCompressorConfig(TrainConfig):
    """A compressor to train for a model, from the stored features of a benchmark's media."""

    weights: WeightsSpec = Field(
        default=NONE, description="The weight variant whose cache is compressed."
    )
    compressor: CompressorSpec
    data: DataSpec = Field(default_factory=DataSpec)
    loss: LossSpec = Field(default_factory=LossSpec)
    stop: CompressorStopSpec = Field(default_factory=CompressorStopSpec)
    output: LocalPath = Field(
        description="Folder of the compressor; the same folder resumes the training."
    )
