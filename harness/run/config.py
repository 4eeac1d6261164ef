"""The run file's model: every key with its meaning and default.

`read_config` reads such a file.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from encodeonce.datasets.media.probe import VideoBackend
from encodeonce.datasets.media.sampling import FrameSampling, UniformInclusive
from encodeonce.datasets.options import LocalPath
from encodeonce.harness.run.adapted import check_benchmarks, check_heads, check_merging
from encodeonce.harness.run.after.judge_spec import JudgeSpec, check_judge
from encodeonce.harness.run.after.log_spec import LogSpec
from encodeonce.harness.run.cache_spec import CacheSpec
from encodeonce.harness.run.engine import check_engine
from encodeonce.harness.run.old_names import (
    NAMES_IN_FINGERPRINTS,
    list_old_names,
    under_new_names,
)
from encodeonce.harness.run.strict import Strict
from encodeonce.harness.run.variant import (
    BASELINE,
    NO_ADAPTER,
    Variant,
    check_adapter_titles,
    check_kv_titles,
    check_weights_titles,
)
from encodeonce.harness.run.workers_spec import WorkersSpec
from encodeonce.models.adapters.spec import AdapterSpec, adapters_from
from encodeonce.models.engine_spec import TRANSFORMERS, EngineSpec, engine_fields
from encodeonce.models.kv.registry import check_kv, for_workers
from encodeonce.models.kv.spec import FULL, KVSpec, expand_kv
from encodeonce.models.quantization.registry import load_quantizer
from encodeonce.models.spec import NONE, GenerationSpec, ModelSpec, VisionSpec, WeightsSpec

_COMPUTES = ("cache", "workers", "output", "limit", "check_uncached", "judge", "log")
CHANGES_NO_ANSWER = (*_COMPUTES, "weights", "adapters", "kv")
"""Fields about what computes, where results go, and how much of the work is done. The meaning of
each variant's name is kept separately (`variant.describe_variants`)."""


class ConfigError(ValueError):
    """The run file is wrong."""


Scoring = Literal["generate", "choice_likelihood", "nll", "head"]


class BenchmarkSpec(Strict):
    """A benchmark and its options."""

    name: str = Field(description="File name in datasets/benchmarks/, e.g. 'demo'.")
    label: str | None = Field(
        default=None, description="Name in the report, if one benchmark is used twice."
    )
    options: dict[str, Any] = Field(
        default_factory=dict, description="The benchmark's own options."
    )
    scoring: Scoring = Field(
        default="generate",
        description="'generate': the model writes an answer; 'choice_likelihood': the likeliest of "
        "the options' letters is its answer; 'nll': the negative log-likelihood of the target, "
        "teacher-forced; 'head': the likeliest class of the adapter's linear head, in one pass.",
    )

    @property
    def title(self) -> str:
        """Its name in records and reports."""
        return self.label or self.name


def listed(value: Any) -> Any:
    """Return a list of one where a run file gives one thing alone."""
    return [value] if isinstance(value, str | Mapping) else value


def listed_adapters(value: Any) -> Any:
    """Return adapters as a list, with None for the base, and those that ``{from: FILE}`` names."""
    some = listed(value)
    if not isinstance(some, list | tuple):
        return some
    found: list[Any] = []
    for one in some:
        if isinstance(one, Mapping) and set(one) == {"from"} and isinstance(one["from"], str):
            found += adapters_from(one["from"])
        else:
            found.append(None if one == NO_ADAPTER else one)
    return found


class AnswerConfig(Strict):
    """Which model answers, about which frames, from which store.

    Other harnesses bring their own questions, workers and reports: these are the options that
    remain for their users to set.
    """

    model_config = ConfigDict(json_schema_extra=list_old_names)

    model: ModelSpec
    frames: FrameSampling = Field(
        default=UniformInclusive(num_frames=8),
        description="Which frames of a video the model sees.",
    )
    video_backend: VideoBackend = Field(
        default="pyav",
        description="What decodes videos: 'pyav', 'torchcodec', 'decord', or 'auto': decord where "
        "it is exact, PyAV otherwise. A reader that would not be exact on a file is refused.",
    )
    vision: VisionSpec = Field(default_factory=VisionSpec)
    generation: GenerationSpec = Field(default_factory=GenerationSpec)
    cache: CacheSpec = Field(default_factory=CacheSpec)

    @model_validator(mode="before")
    @classmethod
    def _renamed(cls, content: Any) -> Any:
        return under_new_names(content) if isinstance(content, Mapping) else content

    def placed_benchmarks(self) -> list[tuple[tuple[str | int, ...], BenchmarkSpec]]:
        """Return the benchmarks of the file, each with its place in it."""
        return []


class QuestionsConfig(AnswerConfig):
    """Which questions a model is asked."""

    benchmarks: tuple[BenchmarkSpec, ...] = Field(min_length=1)

    def placed_benchmarks(self) -> list[tuple[tuple[str | int, ...], BenchmarkSpec]]:
        """Return the benchmarks of the file, each with its place in it."""
        return [(("benchmarks", number), spec) for number, spec in enumerate(self.benchmarks)]


class RunConfig(QuestionsConfig):
    """A run: which questions are answered, under which variants, by how many workers."""

    weights: Annotated[tuple[WeightsSpec, ...], BeforeValidator(listed)] = Field(
        default=(NONE,),
        description="Weight variants. Every one answers under every cache variant, all from the "
        "same stored features. Variants can be added to a finished run.",
    )
    adapters: Annotated[tuple[AdapterSpec | None, ...], BeforeValidator(listed_adapters)] = Field(
        default=(None,),
        description="LoRA adapters as peft saves them; 'none' is the base. Every one answers under "
        "all weights and caches, from the same stored features; rows of several decode in one "
        "batch. Adapters can be added to a finished run.",
    )
    adapter_mode: Literal["unmerged", "merged"] = Field(
        default="unmerged",
        description="'unmerged': adapters are computed beside the weights; 'merged': one after "
        "another is added to plain weights, rounded once, which is another model by that much.",
    )
    kv: Annotated[tuple[KVSpec, ...], BeforeValidator(expand_kv)] = Field(
        default=(FULL,),
        description="Cache variants: KV-compression methods at budgets. All share one prefill.",
    )
    fidelity: bool = Field(
        default=False,
        description="Teacher-force the full cache's answer through every compressed cache: token "
        "agreement, mean KL. Needs 'full' in kv.",
    )
    engine: EngineSpec = Field(
        default=TRANSFORMERS,
        description="What decodes: 'transformers', or 'vllm'. Another engine is another run.",
    )
    limit: int | None = Field(
        default=None, ge=1, description="Only the first so many samples of each benchmark."
    )
    check_uncached: Annotated[int, Field(ge=0)] | Literal["all"] = Field(
        default=0,
        description="So many samples of each benchmark are answered a second time by plain "
        "transformers from the video file, and the answers compared. 'all', or 0 for none.",
    )
    workers: WorkersSpec = Field(default_factory=WorkersSpec)
    judge: JudgeSpec | None = Field(
        default=None,
        description="A language model that judges answers, for benchmarks whose score is one's.",
    )
    log: LogSpec | None = Field(
        default=None,
        description="Experiment trackers that get the figures as a run ends: wandb, trackio, "
        "mlflow.",
    )
    output: LocalPath = Field(
        description="Folder for records and report; the same folder resumes the run."
    )

    @field_validator("weights")
    @classmethod
    def _weights_told_apart(cls, value: tuple[WeightsSpec, ...]) -> tuple[WeightsSpec, ...]:
        for spec in value:
            load_quantizer(spec)
        check_weights_titles(value)
        return value

    @field_validator("adapters")
    @classmethod
    def _adapters_told_apart(
        cls, value: tuple[AdapterSpec | None, ...], info: ValidationInfo
    ) -> tuple[AdapterSpec | None, ...]:
        check_adapter_titles(value, info.data.get("weights", (NONE,)))
        return tuple(one and one.for_workers() for one in value)

    @field_validator("kv")
    @classmethod
    def _kv_told_apart(cls, value: tuple[KVSpec, ...]) -> tuple[KVSpec, ...]:
        for spec in value:
            check_kv(spec)
        found = tuple(for_workers(spec) for spec in value)
        check_kv_titles(found)
        return found

    @model_validator(mode="after")
    def _adapters_fit(self) -> Self:
        scorings = {spec.title: spec.scoring for spec in self.benchmarks}
        check_benchmarks(self.adapters, list(scorings))
        if "head" in scorings.values():
            check_heads(self.adapters, self.kv)
        if self.adapter_mode == "merged":
            check_merging(self.weights, list(scorings.values()), self.engine)
        return self

    @field_validator("fidelity")
    @classmethod
    def _fidelity_to_something(cls, value: bool, info: ValidationInfo) -> bool:
        if value and FULL.title not in [spec.title for spec in info.data.get("kv", (FULL,))]:
            raise ValueError("fidelity is measured against the full cache: add 'full' to kv")
        return value

    @field_validator("check_uncached")
    @classmethod
    def _baseline_is_there(cls, value: int | str, info: ValidationInfo) -> int | str:
        weights, kv = info.data.get("weights", (NONE,)), info.data.get("kv", (FULL,))
        has_base = None in info.data.get("adapters", (None,))
        names = [Variant.of(one, other) for one in weights for other in kv if has_base]
        if value and BASELINE not in names:
            raise ValueError(
                f"plain transformers' answers are compared with those of {BASELINE.name!r}: add "
                "'none' to weights and adapters, and 'full' to kv, or set check_uncached: 0"
            )
        return value

    @field_validator("judge")
    @classmethod
    def _something_to_judge(cls, value: JudgeSpec | None, info: ValidationInfo) -> JudgeSpec | None:
        if value is not None and "benchmarks" in info.data:
            check_judge(spec.name for spec in info.data["benchmarks"])
        return value

    @model_validator(mode="after")
    def _engine_has_it_all(self) -> Self:
        scorings = [one.scoring for one in self.benchmarks]
        check_engine(self.engine, self.kv, scorings, fidelity=self.fidelity)
        return self

    @property
    def variants(self) -> tuple[Variant, ...]:
        """The run's variants, in the order of its lists."""
        return tuple(
            Variant.of(weights, kv, adapter)
            for weights in self.weights
            for adapter in self.adapters
            for kv in self.kv
        )

    def answer_fields(self) -> dict[str, Any]:
        """Return the fields that can change an answer: all but `CHANGES_NO_ANSWER`.

        A run's fingerprint is the digest of these, so their names are those of the first version.
        """
        content = engine_fields(self.model_dump(mode="json", exclude=set(CHANGES_NO_ANSWER)))
        content["model"].pop("device")
        if self.adapter_mode == "unmerged":  # as in versions without it
            content.pop("adapter_mode")
        content["generation"].pop("max_cache_gib")
        if not content["generation"]["cuda_graphs"]:  # as in versions without them
            content["generation"].pop("cuda_graphs")
        return {NAMES_IN_FINGERPRINTS.get(name, name): value for name, value in content.items()}
