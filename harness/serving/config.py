"""The run file of ``encodeonce bench serve``: every key with its meaning and default."""

from collections import Counter
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from encodeonce.datasets.options import LocalPath
from encodeonce.harness.run.config import QuestionsConfig, RunConfig
from encodeonce.harness.run.strict import Strict
from encodeonce.harness.run.variant import Variant, check_kv_titles, check_weights_titles
from encodeonce.harness.run.workers_spec import WorkersSpec
from encodeonce.harness.serving.adapters.checks import check_for_clock, check_served
from encodeonce.harness.serving.adapters.load import AdaptersLoad
from encodeonce.harness.serving.loads import Arrivals, Limits, PoissonArrivals
from encodeonce.harness.serving.policy import check_policy, is_about_adapters
from encodeonce.harness.serving.specs import (
    SLO,
    ForcedLength,
    MonitorSpec,
    NaturalLength,
    OpenAIEngine,
    OwnEngine,
    RayEngine,
    TraceLength,
    VirtualTime,
    WallTime,
)
from encodeonce.models.kv.registry import check_kv
from encodeonce.models.kv.spec import FULL, KVSpec
from encodeonce.models.quantization.registry import load_quantizer
from encodeonce.models.spec import NONE, WeightsSpec

Preemption = Literal["none", "recompute", "swap"]


class Experiment(Strict):
    """One way to serve the load."""

    name: str = Field(min_length=1, description="In the report.")
    kv: KVSpec = Field(default=FULL, description="Cache variant of every request.")
    weights: WeightsSpec = Field(default=NONE, description="Weight variant.")
    policy: str | None = Field(default=None, description="In place of the file's.")
    share_prefixes: bool | None = Field(default=None, description="In place of the file's.")
    preempt: Preemption | None = Field(default=None, description="In place of the file's.")
    limits: Limits | None = Field(
        default=None, description="In place of the file's; only with 'not_comparable'."
    )
    arrivals: Arrivals | None = Field(
        default=None, description="In place of the file's; only with 'not_comparable'."
    )
    not_comparable: str | None = Field(
        default=None,
        min_length=1,
        description="Why it has limits or arrivals of its own. It then stands in a table apart.",
    )

    @field_validator("kv")
    @classmethod
    def _kv_can_be_used(cls, value: KVSpec) -> KVSpec:
        check_kv(value)
        return value

    @field_validator("weights")
    @classmethod
    def _weights_can_be_used(cls, value: WeightsSpec) -> WeightsSpec:
        load_quantizer(value)
        return value

    @field_validator("policy")
    @classmethod
    def _policy_is_known(cls, value: str | None) -> str | None:
        return None if value is None else check_policy(value)

    @model_validator(mode="after")
    def _like_for_like(self) -> Self:
        own = [name for name in ("limits", "arrivals") if getattr(self, name) is not None]
        if own and self.not_comparable is None:
            raise ValueError(
                f"{self.name!r} has {' and '.join(own)} of its own, so its figures cannot stand "
                "beside the others': say why in 'not_comparable', and it gets a table apart"
            )
        if self.not_comparable is not None and not own:
            raise ValueError(
                f"{self.name!r} is 'not_comparable' but has neither limits nor arrivals of its own"
            )
        return self

    @property
    def variant(self) -> Variant:
        """Weights and cache, by which answers are recorded."""
        return Variant.of(self.weights, self.kv)


class ServeConfig(QuestionsConfig):
    """Concurrent requests: who arrives when, what may run at once, and the ways to compare."""

    time: VirtualTime | WallTime = Field(
        discriminator="mode", description="Computed seconds, or a clock's."
    )
    engine: OwnEngine | OpenAIEngine | RayEngine = Field(
        default=OwnEngine(), discriminator="kind", description="What answers."
    )
    arrivals: Arrivals = Field(
        default=PoissonArrivals(kind="poisson", rate=(1.0,)), description="When requests arrive."
    )
    output_tokens: NaturalLength | ForcedLength | TraceLength = Field(
        default=NaturalLength(kind="natural"), discriminator="kind", description="Answers' lengths."
    )
    limits: Limits = Field(description="What may be in memory, and in one action, at most.")
    policy: Annotated[str, Field(description="File name in harness/serving/policies/.")] = (
        "prefill_first"
    )
    features: Literal["stored", "encode"] = Field(
        default="stored",
        description="'stored': pictures' features are read from the store; 'encode': the tower "
        "runs for every request, as where every picture is new.",
    )
    share_prefixes: bool = Field(
        default=False,
        description="Whether a prompt that begins like another one in memory shares its prefix.",
    )
    preempt: Preemption = Field(
        default="none",
        description="'none': a request is admitted once its longest answer has room; 'recompute' "
        "and 'swap': the youngest gives way when there is no room.",
    )
    adapters: AdaptersLoad | None = Field(
        default=None, description="LoRA adapters, of which every request is under one."
    )
    slo: SLO = Field(description="The service level.")
    monitor: MonitorSpec = Field(default=MonitorSpec(), description="The state over time.")
    experiments: tuple[Experiment, ...] = Field(
        min_length=1, description="What is compared: under the same requests, seeds and limits."
    )
    fidelity: bool = Field(
        default=False, description="As in a run file; 'full' has to be among the experiments."
    )
    limit: int | None = Field(
        default=None, ge=1, description="Only the first so many samples of each benchmark."
    )
    workers: WorkersSpec = Field(
        default=WorkersSpec(executor="local"), description="Who answers for scores and lengths."
    )
    output: LocalPath = Field(
        description="Folder for answers, cells and report; the same folder resumes."
    )

    @field_validator("policy")
    @classmethod
    def _policy_is_known(cls, value: str) -> str:
        return check_policy(value)

    @field_validator("experiments")
    @classmethod
    def _told_apart(cls, value: tuple[Experiment, ...]) -> tuple[Experiment, ...]:
        names = Counter(one.name for one in value)
        if twice := [name for name, count in names.items() if count > 1]:
            raise ValueError(f"two are named {twice[0]!r}")
        check_kv_titles(_kvs(value))
        check_weights_titles(_weights(value))
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.output_tokens.kind == "trace" and not self._has_trace:
            raise ValueError(
                "output_tokens.kind is 'trace', so arrivals.kind must be 'trace' as well; got "
                f"{self.arrivals.kind!r}"
            )
        if self.fidelity and not any(one.kv.is_full for one in self.experiments):
            raise ValueError("fidelity is measured against the full cache: add an experiment of it")
        if self.time.mode == "wall" and "swap" in {self.preempt_of(e) for e in self.experiments}:
            raise ValueError(
                "preempt: 'swap' exists in virtual time only; use 'none' or 'recompute' where "
                "time.mode is 'wall'"
            )
        if self.engine.kind != "own" and self.time.mode != "wall":
            raise ValueError(
                f"engine.kind {self.engine.kind!r} answers by the clock: time.mode must be 'wall'"
            )
        if self.engine.kind == "openai":
            self._check_for_server()
        for benchmark in self.benchmarks:
            if benchmark.scoring != "generate":
                raise ValueError(
                    f"benchmarks: {benchmark.title!r} has scoring {benchmark.scoring!r}; requests "
                    "are answers that are generated: use scoring: generate"
                )
        return self

    @model_validator(mode="after")
    def _consistent_with_adapters(self) -> Self:
        about = {e.name: self.policy_of(e) for e in self.experiments}
        if self.adapters is not None:
            served = [(e.name, about[e.name], e.weights, e.kv) for e in self.experiments]
            check_served(self.adapters, served)
            if self.time.mode == "wall":
                check_for_clock(served, self.engine.kind, self.time.costs)
            if self.fidelity:
                raise ValueError("fidelity is measured without adapters: leave one of them out")
            if self.adapters.column is not None and not self._has_trace:
                raise ValueError(
                    "adapters.skew.kind is 'trace_column', so arrivals.kind must be 'trace' as "
                    f"well; got {self.arrivals.kind!r}"
                )
        elif found := [name for name in about.values() if is_about_adapters(name)]:
            raise ValueError(f"policy {found[0]!r} is about adapters: add the section 'adapters'")
        return self

    @property
    def _has_trace(self) -> bool:
        """Whether all requests arrive as they were recorded."""
        own = (one.arrivals for one in self.experiments if one.arrivals is not None)
        return all(one.kind == "trace" for one in (self.arrivals, *own))

    def _check_for_server(self) -> None:
        """Refuse what a server elsewhere cannot do.

        Raises:
            ValueError: names it.
        """
        for one in self.experiments:
            if not one.kv.is_full or not one.weights.is_none:
                raise ValueError(
                    f"experiments: {one.name!r} has {one.variant.name!r}, but a server keeps its "
                    "own cache and weights: under engine.kind 'openai' all are 'none/full'"
                )
        if len(self.limits.kv_bytes) > 1:
            raise ValueError(
                "limits.kv_bytes: a server has limits of its own; give one size under engine.kind "
                "'openai': its own, which is only printed"
            )

    def preempt_of(self, experiment: Experiment) -> Preemption:
        """Return how an experiment makes room."""
        return experiment.preempt or self.preempt

    def policy_of(self, experiment: Experiment) -> str:
        """Return an experiment's policy."""
        return experiment.policy or self.policy

    def shares_prefixes(self, experiment: Experiment) -> bool:
        """Return whether an experiment shares prefixes."""
        own = experiment.share_prefixes
        return self.share_prefixes if own is None else own

    def variants_of(self, experiment: Experiment) -> tuple[Variant, ...]:
        """Return the variants that an experiment answers under: of each adapter, if they are
        real.
        """
        folders = () if self.adapters is None else self.adapters.folders
        found = tuple(Variant.of(experiment.weights, experiment.kv, one) for one in folders)
        number = 1 if self.adapters is None else self.adapters.number
        return found or (experiment.variant,) * number

    def answers(self) -> tuple[RunConfig, ...]:
        """Return the runs that give every sample's answer, one for each weight variant."""
        found = []
        for weights in _weights(self.experiments):
            mine = [one for one in self.experiments if one.weights == weights]
            kv = _kvs(mine)
            found.append(
                RunConfig(
                    **{name: getattr(self, name) for name in QuestionsConfig.model_fields},
                    weights=(weights,),
                    adapters=self.adapters.folders or (None,) if self.adapters else (None,),
                    kv=kv,
                    fidelity=self.fidelity and any(one.is_full for one in kv),
                    limit=self.limit,
                    workers=self.workers,
                    output=Path(self.output) / "answers",
                )
            )
        return tuple(found)


def _kvs(experiments: tuple[Experiment, ...] | list[Experiment]) -> tuple[KVSpec, ...]:
    """Return the cache variants, each once, the full cache first."""
    found: list[KVSpec] = []
    for one in experiments:
        if one.kv not in found:
            found.append(one.kv)
    return tuple(sorted(found, key=lambda kv: not kv.is_full))


def _weights(experiments: tuple[Experiment, ...]) -> tuple[WeightsSpec, ...]:
    found: list[WeightsSpec] = []
    for one in experiments:
        if one.weights not in found:
            found.append(one.weights)
    return tuple(found)
