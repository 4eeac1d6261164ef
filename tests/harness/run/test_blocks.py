"""Blocks follow from the data alone."""

from collections.abc import Sequence
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from encodeonce.datasets.media.media import MediaRef
from encodeonce.datasets.sample import Sample
from encodeonce.harness.run.blocks import apart, blocks_of, one_by_one, seats
from encodeonce.harness.run.plan import MediaGroup, branches_left, without_samples
from encodeonce.models.adapters.spec import AdapterSpec
from encodeonce.models.kv.spec import FULL
from encodeonce.models.spec import NONE, WeightsSpec

NF4 = WeightsSpec(method="bnb_nf4")


def groups(sizes: Sequence[int], benchmark: str = "x") -> list[MediaGroup]:
    found = []
    for number, size in enumerate(sizes):
        media = (MediaRef(kind="video", path=f"{number}.mp4"),)
        names = tuple(f"{number}.{n}" for n in range(size))
        samples = tuple(
            Sample(id=name, media=media, question=name, target="yes", group="1") for name in names
        )
        found.append(
            MediaGroup(
                benchmark=benchmark,
                root=Path(),
                media=media,
                samples=samples,
                prompts=names,
                together=names,
            )
        )
    return found


@given(st.lists(st.integers(1, 9), min_size=1, max_size=30), st.integers(1, 8))
def test_no_place_is_taken_twice_and_blocks_are_full_if_the_next_does_not_fit(
    sizes: list[int], max_batch: int
) -> None:
    where = seats(groups(sizes), max_batch)
    taken: dict[int, list[int]] = {}
    for size, (number, place, count) in zip(sizes, where.values(), strict=True):
        assert count == min(size, max_batch)
        mine = range(place, place + min(size, max_batch))
        assert mine[-1] < max_batch
        assert not set(mine) & set(taken.get(number, []))
        taken.setdefault(number, []).extend(mine)
    assert list(taken) == sorted(taken)
    for number, size in zip(list(taken)[:-1], list(taken)[1:], strict=True):
        first = next(s for s, (n, *_) in zip(sizes, where.values(), strict=True) if n == size)
        assert len(taken[number]) + min(first, max_batch) > max_batch


@given(st.lists(st.integers(1, 5), min_size=2, max_size=20), st.data())
def test_what_is_answered_or_beyond_the_limit_moves_nobody(
    sizes: list[int], data: st.DataObject
) -> None:
    whole = groups(sizes)
    ids = [sample.id for group in whole for sample in group.samples]
    limit = data.draw(st.integers(1, len(ids)))
    limited = without_samples(whole, {("x", name) for name in ids[limit:]})
    where = seats(whole, 8)
    assert seats(limited, 8).items() <= where.items()
    done = data.draw(st.sets(st.sampled_from(ids)))
    answered = {("x", name, "none/full") for name in done}
    for block in blocks_of(branches_left(whole, (NONE,), (FULL,), answered), where):
        for member in block.members:
            group = member.branch.group
            assert where[group.benchmark, group.media][1] == member.place


def test_questions_asked_twice_take_one_place() -> None:
    (group,) = groups([3])
    twice = MediaGroup(
        benchmark="x",
        root=group.root,
        media=group.media,
        samples=group.samples,
        prompts=("a", "b", "a"),
        together=("a", "b", "a"),
    )
    (other,) = groups([1], "y")
    assert [place for _, place, _ in seats([twice, *groups([1, 1])[1:]], 3).values()] == [0, 2]
    assert [number for number, *_ in seats([twice, other], 9).values()] == [1, 2]


def test_weight_variants_and_benchmarks_never_share_a_block() -> None:
    both = [*groups([1, 1], "x"), *groups([1], "y")]
    blocks = blocks_of(branches_left(both, (NONE, NF4), (FULL,), ()), seats(both, 8))
    assert [(block.weights.title, block.benchmark, block.num_missing) for block in blocks] == [
        ("none", "x", 2),
        ("none", "y", 1),
        (NF4.title, "x", 2),
        (NF4.title, "y", 1),
    ]
    assert [block.weight for block in blocks] == [2, 1, 2, 1]


def test_adapters_take_the_places_that_a_block_leaves_vacant_and_move_nobody() -> None:
    some, one, two = groups([2, 1]), AdapterSpec(path="a"), AdapterSpec(path="b")
    chosen = (None, one, two)
    branches = branches_left(some, (NONE,), (FULL,), (), chosen)
    where = seats(some, 7)
    (block,) = blocks_of(branches, where, chosen, 7)
    assert [(member.branch.adapter, member.place) for member in block.members] == [
        (None, 0),
        (one, 3),
        (None, 2),
        (one, 5),
        # There are no three places left: once more from the first.
        (two, 0),
        (two, 2),
    ]
    answered = {("x", sample.id, "none+a/full") for sample in some[0].samples}
    left = branches_left(some, (NONE,), (FULL,), answered, chosen)
    (again,) = blocks_of(left, where, chosen, 7)
    places = {(m.branch.group.media, m.branch.adapter): m.place for m in block.members}
    assert len(again.members) == 5
    for member in again.members:
        assert places[member.branch.group.media, member.branch.adapter] == member.place


def test_groups_go_apart_without_moving() -> None:
    some = groups([2, 3])
    branches = branches_left(some, (NONE,), (FULL,), ())
    (block,) = blocks_of(branches, seats(some, 8))
    assert [one.members[0].place for one in apart(block)] == [0, 2]
    assert [one.members[0].place for one in one_by_one(branches)] == [0, 0]
