"""Sections of the run file of ``encodeonce bench serve``: time, engine, lengths, service level."""

from typing import Literal

from pydantic import Field

from encodeonce.harness.run.strict import Strict

BUILT_IN = "built-in"


class VirtualTime(Strict):
    """Seconds are computed from measured costs: the same file gives the same results."""

    mode: Literal["virtual"] = Field(description="'virtual' or 'wall'.")
    costs: str = Field(
        description="File of `encodeonce bench costs`, or 'built-in': the demo model's, from one "
        "core of the machine that it was developed on."
    )


class WallTime(Strict):
    """The model computes, and a clock runs."""

    mode: Literal["wall"] = Field(description="'virtual' or 'wall'.")
    costs: str | None = Field(
        default=None, description="Costs from which the same is computed, to stand beside it."
    )


class OwnEngine(Strict):
    """The decoder of this project, in this process."""

    kind: Literal["own"] = "own"


class OpenAIEngine(Strict):
    """A server elsewhere, which has a scheduler and a cache of its own."""

    kind: Literal["openai"]
    url: str = Field(
        pattern=r"^https?://\S+$", description="Up to the version, e.g. http://host:8000/v1."
    )
    model: str = Field(min_length=1, description="The server's name for the model.")
    api_key_env: str = Field(
        default="OPENAI_API_KEY", description="Environment variable that holds the key, if any."
    )


class RayEngine(Strict):
    """Replicas of the decoder of this project on Ray Serve, which routes requests among them."""

    kind: Literal["ray"]
    replicas: int = Field(default=2, ge=1, description="How many.")
    gpus_per_replica: float = Field(default=0.0, ge=0, description="GPUs of each.")
    cpus_per_replica: float = Field(default=1.0, ge=0, description="Cores of each.")


class NaturalLength(Strict):
    """An answer ends where the model ends it, or at generation.max_new_tokens."""

    kind: Literal["natural"]


class ForcedLength(Strict):
    """Every answer has the same length. What is scored is the answer up to its own end."""

    kind: Literal["forced"]
    tokens: int = Field(ge=1, description="Length of every answer, in tokens.")


class TraceLength(Strict):
    """An answer is as long as the trace says."""

    kind: Literal["trace"]


class SLO(Strict):
    """The service level that counts as good."""

    ttft_s: float = Field(gt=0, description="Longest time to the first token, seconds.")
    tpot_s: float = Field(gt=0, description="Longest mean time per further token, seconds.")
    attain: float = Field(
        default=0.95, gt=0, le=1, description="Fraction of requests that must meet both."
    )


class MonitorSpec(Strict):
    """How often the state is written down."""

    every_s: float = Field(default=0.1, ge=0.001, description="Seconds between two lines.")
