"""The run file's section `workers`."""

import re
from typing import Literal

from pydantic import Field, field_validator

from encodeonce.datasets.options import LocalPath
from encodeonce.harness.run.strict import Strict

_PERCENT = re.compile(r"(\d+(?:\.\d+)?) ?%")


class WorkersSpec(Strict):
    """The workers and their resources. Changes no result."""

    executor: Literal["auto", "ray", "local"] = Field(
        default="auto",
        description="'ray'; 'local': one worker in this process, without Ray; or 'auto': Ray where "
        "it is installed.",
    )
    num_workers: int = Field(default=2, ge=1, description="Worker processes (Ray).")
    gpus_per_worker: float | None = Field(
        default=None,
        ge=0,
        description="GPUs of a worker; by default 1 where the cluster has GPUs, else 0. Below 1, "
        "workers share a GPU.",
    )
    cpus_per_worker: int = Field(
        default=1,
        ge=1,
        description="Cores, and so threads, of a worker. Another number of threads may round "
        "differently.",
    )
    memory_per_worker_gib: float | None = Field(
        default=None,
        gt=0,
        allow_inf_nan=False,
        description="Main memory that Ray sets aside for a worker, GiB: no more workers are "
        "started on a node than its memory holds. By default memory is not counted.",
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
        default=3,
        ge=1,
        description="Workers a media group may kill, or times it may meet an error that may pass, "
        "before it is set aside.",
    )
    retry_after_s: float = Field(
        default=5.0,
        ge=0,
        allow_inf_nan=False,
        description="Seconds until a media group that met an error that may pass (a file server "
        "that did not answer) is tried again; twice as long each further time.",
    )
    max_failed: int | str | None = Field(
        default=None,
        description="A stage stops once more media items or answers than this have failed: a "
        "number, or a share of the stage such as '5 %'. By default it goes on to the end.",
    )

    @field_validator("gpus_per_worker")
    @classmethod
    def _whole_above_one(cls, value: float | None) -> float | None:
        if value is not None and value > 1 and not value.is_integer():
            raise ValueError(
                f"{value:g}: a worker has a part of one GPU (0.25, 0.5) or whole GPUs (1, 2)"
            )
        return value

    @field_validator("max_failed", mode="before")
    @classmethod
    def _count_or_share(cls, value: object) -> object:
        is_count = isinstance(value, int) and not isinstance(value, bool) and value >= 0
        share = _PERCENT.fullmatch(value) if isinstance(value, str) else None
        if value is None or is_count or (share and float(share[1]) <= 100):
            return value
        raise ValueError(
            f"{value!r}: allowed are a number of failures from 0, or a share from '0 %' to "
            "'100 %', for example max_failed: 5 %"
        )

    @property
    def memory_bytes(self) -> int:
        """Main memory of a worker that Ray counts, bytes; 0 where it counts none."""
        return int((self.memory_per_worker_gib or 0) * 2**30)

    def most_failed(self, num_total: int) -> int | None:
        """Return how many of ``num_total`` may fail before a stage stops; None for all."""
        if isinstance(self.max_failed, str):
            share = _PERCENT.fullmatch(self.max_failed)
            assert share is not None  # validated
            return int(num_total * float(share[1]) / 100)
        return self.max_failed
