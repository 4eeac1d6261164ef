"""Which way of adding products is fastest on a machine, as measured: a table of shapes.

Punica and VaLoRA pick a kernel by shape; here shapes that were not measured take the nearest one
that was. Ways differ in the last bits, and which is chosen depends on who is beside a row: so what
is evaluated does not use a table (`operators.usual`).

Shapes: M rows (and their tokens), U adapters present, R rank, I inputs, O outputs.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict, Field

from encodeonce.datasets.refusals import Refused, checked
from encodeonce.datasets.strict_json import parse_json
from encodeonce.models.adapters.operators import Kind

FORMAT = "encodeonce adapters dispatch 1"
Shape = tuple[int, int, int, int, int]
"""(M, U, R, I, O)."""


class TableError(ValueError):
    """A file is no dispatch table."""


class Point(BaseModel):
    """A shape that was measured."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    shape: Shape
    seconds: dict[Kind, float] = Field(min_length=1)
    """Median, by kind."""


class DispatchTable(BaseModel):
    """What was measured on one machine."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: str = Field(default=FORMAT, pattern=f"^{FORMAT}$")
    device: str
    torch: str
    """Its version."""
    dtype: str
    """Of the model."""
    points: tuple[Point, ...] = Field(min_length=1)


@dataclass(frozen=True, slots=True)
class Machine:
    """What a table is good for."""

    device: str
    torch: str
    dtype: str


def machine_of(device_name: str, dtype: torch.dtype) -> Machine:
    """Return this machine, with a model's precision."""
    return Machine(device_name, torch.__version__, str(dtype).removeprefix("torch."))


def why_unfit(table: DispatchTable, machine: Machine) -> str:
    """Return in what a table is of another machine; empty if it is of this one."""
    pairs = (
        ("device", table.device, machine.device),
        ("torch", table.torch, machine.torch),
        ("dtype", table.dtype, machine.dtype),
    )
    return ", ".join(f"{name} {its}, here {ours}" for name, its, ours in pairs if its != ours)


def read_table(path: Path) -> DispatchTable:
    """Read a table.

    Raises:
        TableError: there is no such file, or it is none.
    """
    try:
        return checked(DispatchTable, parse_json(path.read_bytes()))
    except OSError as error:
        raise TableError(
            f"--table {path}: {error.strerror or error}; make it with `encodeonce bench adapters "
            "--tune`"
        ) from error
    except (Refused, ValueError) as error:
        raise TableError(f"--table {path} is no dispatch table: {error}") from error


class Dispatch:
    """Looks shapes up."""

    def __init__(self, table: DispatchTable) -> None:
        """Take a table of this machine."""
        self._logs = [([math.log2(one) for one in p.shape], p.seconds) for p in table.points]
        self.choose = lru_cache(maxsize=4096)(self._choose)

    def _choose(self, shape: Shape) -> Sequence[Kind]:
        """Return the ways of the nearest shape in logarithms, the fastest first."""
        wanted = [math.log2(max(1, one)) for one in shape]
        seconds: Mapping[Kind, float] = min(
            self._logs, key=lambda one: sum(abs(a - b) for a, b in zip(one[0], wanted, strict=True))
        )[1]
        return sorted(seconds, key=lambda kind: seconds[kind])
