"""The run file of ``encodeonce fuse adapters``: every key with its meaning and default."""

import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from encodeonce.datasets.options import LocalPath
from encodeonce.harness.run.cache_spec import CacheSpec
from encodeonce.harness.run.config import AnswerConfig, BenchmarkSpec
from encodeonce.harness.training.adapter.config import (
    AdapterDataSpec,
    AdapterOptimSpec,
    AdapterValidationSpec,
    LoraSpec,
    TrainAdapterConfig,
)
from encodeonce.harness.training.config import Strict
from encodeonce.models.adapters.form import LoraForm
from encodeonce.models.quantization.registry import load_quantizer
from encodeonce.models.spec import NONE, WeightsSpec

_FLOOR = re.compile(r"(?P<of>alone|base)(?P<by>[+-]\d*\.?\d+)?")
_NAME = re.compile(r"[A-Za-z0-9._-]+")


class Floor(Strict):
    """An accuracy that a unit has to keep: a number, or relative to a measured one."""

    of: Literal["alone", "base"] | None = None
    """What it is relative to: an adapter of the unit alone, or none."""
    by: float
    """The accuracy itself, or the difference."""

    def value(self, base: float, alone: float | None) -> float:
        """Return the accuracy.

        Args:
            base: accuracy of the unit without an adapter.
            alone: with one of its own, where that is known.
        """
        if self.of == "alone":
            assert alone is not None
            return alone + self.by
        return self.by + (base if self.of == "base" else 0.0)


def as_floor(value: Any) -> Any:
    """Return a floor as a mapping: 0.9, alone-0.02, base+0.1."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        if not 0 < value <= 1:
            raise ValueError(f"a floor is an accuracy above 0 and at most 1; got {value!r}")
        return {"by": float(value)}
    match = _FLOOR.fullmatch(value.replace(" ", "")) if isinstance(value, str) else None
    if match is None:
        if isinstance(value, Floor | dict):
            return value
        raise ValueError(
            "a floor is an accuracy (0.9), or relative to one (alone-0.02, base+0.10); got "
            f"{value!r}"
        )
    return {"of": match["of"], "by": float(match["by"] or 0)}


class UnitSpec(Strict):
    """A skill: what teaches it, what judges it, and how good it has to be."""

    name: str = Field(description="Letters, digits, '.', '_' and '-'.")
    train: BenchmarkSpec = Field(description="The benchmark that is learnt from.")
    check: BenchmarkSpec = Field(
        description="The benchmark that judges, about other media than any unit's training."
    )
    floor: Annotated[Floor, BeforeValidator(as_floor)] = Field(
        description="The accuracy that its adapter has to keep: 0.9; alone-0.02: so much below an "
        "adapter of this unit alone; base+0.10: above the model without an adapter."
    )

    @field_validator("name")
    @classmethod
    def _is_a_name(cls, value: str) -> str:
        if not _NAME.fullmatch(value) or value in ("none", "all"):
            raise ValueError(
                f"a unit's name consists of letters, digits, '.', '_' and '-', and is neither none "
                f"nor all; got {value!r}"
            )
        return value


class FuseValidationSpec(AdapterValidationSpec):
    """How the best step of a training is found: by training media that are held out."""

    every_steps: int | None = Field(  # type: ignore[assignment]
        default=None,
        ge=1,
        description="Steps between two validations, and so between checkpoints; null for one at "
        "the end of each training.",
    )


class FuseOptimSpec(AdapterOptimSpec):
    """How it is trained; ``max_steps`` follows from ``steps_per_unit``."""

    @model_validator(mode="before")
    @classmethod
    def _has_no_steps(cls, content: Any) -> Any:
        if isinstance(content, dict) and "max_steps" in content:
            raise ValueError("write steps_per_unit at the top instead of optim.max_steps")
        return content


class FuseConfig(AnswerConfig):
    """Skills to pack into as few adapters as keep the accuracy of each."""

    weights: WeightsSpec = Field(
        default=NONE, description="The weight variant beside which adapters are trained."
    )
    units: tuple[UnitSpec, ...] = Field(min_length=1)
    accept: Literal["point", "lower"] = Field(
        default="point",
        description="What has to reach a floor: the accuracy, or its one-sided 95 % lower bound, "
        "clustered by media.",
    )
    order: Literal["given", "hardest_first", "size_first"] = Field(
        default="given",
        description="In which order units are packed: the file's, by the base's accuracy "
        "ascending, or by the number of training questions descending.",
    )
    restart: Literal["warm", "cold"] = Field(
        default="warm",
        description="'warm': a unit is added to the adapter that was kept; 'cold': its members are "
        "learnt anew, in steps_per_unit steps each.",
    )
    steps_per_unit: int = Field(default=300, ge=1, description="Steps when a unit is added.")
    max_rank: int = Field(
        default=32, ge=1, description="Rank of adapters merged in weight space, for comparison."
    )
    compare: bool = Field(
        default=True,
        description="Also train one adapter for all units, and merge single ones in weight space.",
    )
    lora: LoraSpec = Field(default_factory=LoraSpec)
    data: AdapterDataSpec = Field(default_factory=AdapterDataSpec)
    optim: FuseOptimSpec = Field(default_factory=FuseOptimSpec)
    validation: FuseValidationSpec = Field(default_factory=FuseValidationSpec)
    cache: CacheSpec = Field(
        default_factory=CacheSpec,
        description="The feature store. What it lacks is encoded, unless on_miss says otherwise.",
    )
    output: LocalPath = Field(
        description="Folder of the adapters; the same folder goes on where it ended."
    )

    @model_validator(mode="after")
    def _can_be_fused(self) -> "FuseConfig":
        load_quantizer(self.weights)
        names = [unit.name for unit in self.units]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"units: two are named {twice[0]!r}")
        if self.data.labels is not None:
            raise ValueError("data.labels is of train adapter; give each unit's answers in 'train'")
        if self.lora.init_from is not None:
            raise ValueError("lora.init_from is of train adapter; fusion begins with nothing")
        self.training([unit.name for unit in self.units], self.output, 1, 0)
        return self

    @property
    def on_miss(self) -> Literal["error", "encode"]:
        """What to do about missing features."""
        return self.cache.on_miss if "on_miss" in self.cache.model_fields_set else "encode"

    def placed_benchmarks(self) -> list[tuple[tuple[str | int, ...], BenchmarkSpec]]:
        """Return the benchmarks of the file, each with its place in it."""
        return [
            (("units", number, part), getattr(unit, part))
            for number, unit in enumerate(self.units)
            for part in ("train", "check")
        ]

    def form(self) -> LoraForm:
        """Return what the adapters are made of."""
        return self.lora.form()

    def training(
        self, members: list[str], output: Any, max_steps: int, seed: int, start: str | None = None
    ) -> TrainAdapterConfig:
        """Return the training of an adapter of some units.

        Args:
            members: names of units.
            output: folder of the training.
            max_steps: its steps.
            seed: decides weights and lessons.
            start: folder of the adapter to begin with.
        """
        units = {unit.name: unit for unit in self.units}
        shared = {name: getattr(self, name) for name in AnswerConfig.model_fields}
        # The folder's name is no adapter's title: it may have a plus sign.
        begin = None if start is None else {"path": start, "label": "start"}
        validation = self.validation.model_dump()
        validation["every_steps"] = validation["every_steps"] or max_steps
        return TrainAdapterConfig(
            **shared,
            weights=self.weights,
            benchmarks=tuple(
                units[name].train.model_copy(update={"label": name}) for name in members
            ),
            lora=LoraSpec(**{**self.lora.model_dump(), "init_from": begin}),
            data=self.data,
            optim=AdapterOptimSpec(
                **{**self.optim.model_dump(), "max_steps": max_steps, "seed": seed}
            ),
            validation=AdapterValidationSpec(**validation),
            output=output,
        )
