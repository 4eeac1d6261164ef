"""Cuts the work into blocks: media groups whose answers are decoded together.

Which groups share a block, and where in its batch a group's rows stand, follow from the data alone:
from all questions about all media, in the benchmark's order. So an answer has the same bits
whatever has been answered before, is beyond the limit, or was lost.

A block's groups answer under all adapters. Where a block leaves places vacant, the groups under the
next adapters take them; otherwise each adapter's rows take the same places, one after another.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from encodeonce.datasets.media.media import MediaRef
from encodeonce.harness.run.plan import Branch, MediaGroup
from encodeonce.models.adapters.spec import AdapterSpec
from encodeonce.models.spec import WeightsSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A branch with its place in a block."""

    branch: Branch
    place: int
    """The first of the places that its rows take in the batch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Branches of one benchmark under one weight variant: a worker's unit of work."""

    members: tuple[Member, ...]

    @property
    def benchmark(self) -> str:
        """Which asks all of its questions."""
        return self.members[0].branch.group.benchmark

    @property
    def weights(self) -> WeightsSpec:
        """The weight variant."""
        return self.members[0].branch.weights

    @property
    def num_missing(self) -> int:
        """Answers still to be given."""
        return sum(len(member.branch.missing) for member in self.members)

    @property
    def weight(self) -> float:
        """Expected cost, in answers about one media item."""
        return sum(
            len(member.branch.missing) * len(member.branch.group.media) for member in self.members
        )


Seats = Mapping[tuple[str, tuple[MediaRef, ...]], tuple[int, int, int]]
"""Number of the block, place in it, and how many places a group takes, by benchmark and media."""


def seats(groups: Iterable[MediaGroup], max_batch: int) -> Seats:
    """Return where each group's rows stand.

    Args:
        groups: all of a plan, in its order, whatever the limit.
        max_batch: places of a batch. A group with more questions is a block of its own.
    """
    found: dict[tuple[str, tuple[MediaRef, ...]], tuple[int, int, int]] = {}
    number, place, benchmark = 0, 0, None
    for group in groups:
        count = min(max_batch, len(set(group.together)))
        if group.benchmark != benchmark or place + count > max_batch:
            number, place, benchmark = number + 1, 0, group.benchmark
        found[group.benchmark, group.media] = number, place, count
        place += count
    return found


def blocks_of(
    branches: Sequence[Branch],
    where: Seats,
    adapters: Sequence[AdapterSpec | None] = (None,),
    max_batch: int = 1,
) -> tuple[Block, ...]:
    """Return the branches in blocks, in the order of each one's first.

    Args:
        branches: of a plan.
        where: from `seats`.
        adapters: of the run, in its order.
        max_batch: places of a batch.
    """
    taken: dict[int, int] = {}
    for number, place, count in where.values():
        taken[number] = max(taken.get(number, 0), place + count)
    waves: dict[tuple[str, int], list[tuple[int, Member]]] = {}
    for branch in branches:
        number, place, _ = where[branch.group.benchmark, branch.group.media]
        wave, beside = divmod(adapters.index(branch.adapter), max(1, max_batch // taken[number]))
        member = Member(branch=branch, place=place + beside * taken[number])
        waves.setdefault((branch.weights.title, number), []).append((wave, member))
    return tuple(
        Block(members=tuple(member for _, member in sorted(some, key=lambda one: one[0])))
        for some in waves.values()
    )


def apart(block: Block) -> tuple[Block, ...]:
    """Return a block of each member, at the same place as before."""
    return tuple(Block(members=(member,)) for member in block.members)


def one_by_one(branches: Sequence[Branch]) -> tuple[Block, ...]:
    """Return a block of each branch, for work that is not done together."""
    return tuple(Block(members=(Member(branch=branch, place=0),)) for branch in branches)
