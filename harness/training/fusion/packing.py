"""Packs units into few adapters, so that each keeps its accuracy: greedily, with rollback.

To pack units into as few adapters as keep every floor is bin packing, and NP-hard. The greedy order
with rollback is VaLoRA's accuracy-aware fusion (Mi et al., 2025, arXiv:2411.00915).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

Unit = str
Outcome = Literal["kept", "rolled back", "missed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """How well one unit is answered under an adapter."""

    accuracy: float
    bound: float
    """What has to reach the floor: the accuracy, or its lower bound."""
    floor: float
    num_questions: int

    @property
    def is_met(self) -> bool:
        """Whether the floor is reached; sums of decimal fractions may miss it by rounding."""
        return self.bound >= self.floor - 1e-9


Adapter = str
"""An adapter's name."""


class Work(Protocol):
    """Trains adapters and measures them."""

    def train(self, start: Adapter | None, members: Sequence[Unit]) -> Adapter:
        """Return an adapter of the members, begun with another one or with nothing."""
        ...

    def marks(self, adapter: Adapter, members: Sequence[Unit]) -> dict[Unit, Mark]:
        """Return how well members are answered under an adapter."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What was decided about a unit, and why."""

    unit: Unit
    adapter: Adapter
    """The candidate."""
    members: tuple[Unit, ...]
    marks: dict[Unit, Mark] = field(hash=False)
    outcome: Outcome
    """'rolled back': the members before it stay with the adapter before it, and the unit begins
    another. 'missed': the unit misses its floor alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """An adapter of the result."""

    adapter: Adapter
    members: tuple[Unit, ...]
    marks: dict[Unit, Mark] = field(hash=False)


def pack(
    units: Sequence[Unit], work: Work, on_decision: Callable[[Decision], None]
) -> list[Packed]:
    """Return adapters that together have all units; one that misses a floor has a single unit.

    Args:
        units: in the order in which they are packed.
        work: trains and measures.
        on_decision: called with every decision.
    """
    found: list[Packed] = []
    kept: Packed | None = None
    for unit in units:
        if kept is not None:
            candidate = _tried(work, kept.adapter, (*kept.members, unit))
            fits = all(mark.is_met for mark in candidate.marks.values())
            on_decision(_decision(unit, candidate, "kept" if fits else "rolled back"))
            if fits:
                kept = candidate
                continue
            found.append(kept)
        kept = _tried(work, None, (unit,))
        met = kept.marks[unit].is_met
        on_decision(_decision(unit, kept, "kept" if met else "missed"))
        if not met:
            found.append(kept)
            kept = None
    return [*found, kept] if kept is not None else found


def _tried(work: Work, start: Adapter | None, members: tuple[Unit, ...]) -> Packed:
    adapter = work.train(start, members)
    return Packed(adapter=adapter, members=members, marks=work.marks(adapter, members))


def _decision(unit: Unit, candidate: Packed, outcome: Outcome) -> Decision:
    return Decision(
        unit=unit,
        adapter=candidate.adapter,
        members=candidate.members,
        marks=candidate.marks,
        outcome=outcome,
    )
