"""The part of a run file about who does the work."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from encodeonce.datasets.options import LocalPath


class Strict(BaseModel):
    """A section of a run file: unknown keys are refused, and nothing changes later."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class WorkersSpec(Strict):
    """The workers and their resources. Changes no result."""

    executor: Literal["ray", "local"] = Field(
        default="ray", description="'ray', or 'local': one worker in this process, without Ray."
    )
    num_workers: int = Field(default=2, ge=1, description="Worker processes (Ray).")
    gpus_per_worker: float | None = Field(
        default=None,
        ge=0,
        description="GPUs of a worker; by default 1 where the cluster has GPUs, else 0.",
    )
    cpus_per_worker: int = Field(
        default=1,
        ge=1,
        description="Cores, and so threads, of a worker. Another number of threads may round "
        "differently.",
    )
    env: dict[str, str] = Field(
        default_factory=dict,
        description="Environment of workers, e.g. HF_HUB_OFFLINE; they do not inherit the shell's.",
    )
    wheel: LocalPath | None = Field(
        default=None,
        description="Wheel of encodeonce (`pip wheel --no-deps .`) for nodes that lack it.",
    )
    groups_at_once: int = Field(
        default=2,
        ge=1,
        description="Media groups handed to a worker together: it reads the next one's features "
        "while it computes. More also suits groups that take only milliseconds.",
    )
    lease_s: float = Field(
        default=1800.0,
        gt=0,
        description="A media group not finished within this many seconds is taken to hang.",
    )
    max_attempts: int = Field(
        default=3, ge=1, description="Workers a media group may kill before it is set aside."
    )
