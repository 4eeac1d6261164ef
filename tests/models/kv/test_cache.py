"""The ragged cache itself: memory is really freed, and attention spans different lengths."""

import pytest
import torch

from encodeonce.models.kv.attention import probabilities
from encodeonce.models.kv.cache import RaggedCache, ragged_attention
from encodeonce.models.kv.layers.ragged import RaggedLayer
from encodeonce.models.kv.selection import Entries
from encodeonce.models.kv.storage import Precision

HEADS, KV_HEADS, WIDTH = 4, 2, 8


def even(num_entries: int, seed: int) -> Entries:
    generator = torch.Generator().manual_seed(seed)
    keys, values = (
        torch.randn(KV_HEADS, num_entries, WIDTH, generator=generator) for _ in range(2)
    )
    return Entries(keys=keys, values=values, indices=torch.arange(num_entries).expand(KV_HEADS, -1))


def uneven(lengths: tuple[int, ...], seed: int) -> Entries:
    heads = [even(length, seed + n) for n, length in enumerate(lengths)]
    return Entries(
        keys=[one.keys[0] for one in heads],
        values=[one.values[0] for one in heads],
        indices=[one.indices[0] for one in heads],
    )


ROWS = [even(40, 1), even(7, 2), uneven((30, 3), 3), even(39, 5), uneven((1, 41), 7)]
MODEL: list[Precision] = ["model"] * len(ROWS)


def expected(
    row: Entries, new: list[tuple[torch.Tensor, torch.Tensor]], queries: torch.Tensor, number: int
):
    """Return attention of (H, Q, D) queries over a row's entries and the new ones."""
    taken = []
    for head in range(KV_HEADS):
        keys = torch.cat([row.keys[head], *[k[number, head] for k, _ in new]])
        values = torch.cat([row.values[head], *[v[number, head] for _, v in new]])
        mine = queries[2 * head : 2 * head + 2]
        taken.append(probabilities(mine, keys[None], WIDTH**-0.5) @ values)
    return torch.cat(taken)


@pytest.mark.parametrize("chunks", [(1, 1, 1), (4,), (3, 1, 5)])
def test_each_row_and_head_sees_its_own_entries_and_what_came_before(
    chunks: tuple[int, ...],
) -> None:
    layer = RaggedLayer(ROWS, MODEL, room=sum(chunks))
    generator = torch.Generator().manual_seed(9)
    new: list[tuple[torch.Tensor, torch.Tensor]] = []
    for size in chunks:
        keys, values = (
            torch.randn(len(ROWS), KV_HEADS, size, WIDTH, generator=generator) for _ in range(2)
        )
        queries = torch.randn(len(ROWS), HEADS, size, WIDTH, generator=generator)
        layer.append(keys, values)
        new.append((keys, values))
        found = layer.attend(queries, WIDTH**-0.5).transpose(1, 2)
        for number, row in enumerate(ROWS):
            assert torch.allclose(
                found[number], expected(row, new, queries[number], number), atol=1e-5
            )


def test_a_window_hides_what_lies_further_back() -> None:
    layer = RaggedLayer([even(20, 1)], ["model"], room=1, window=5)
    keys, values = torch.randn(2, 1, KV_HEADS, 1, WIDTH).unbind(0)
    layer.append(keys, values)
    queries = torch.randn(1, HEADS, 1, WIDTH)
    near = even(20, 1)
    near = Entries(keys=near.keys[:, -4:], values=near.values[:, -4:], indices=near.indices[:, -4:])
    found = layer.attend(queries, WIDTH**-0.5).transpose(1, 2)[0]
    assert torch.allclose(found, expected(near, [(keys, values)], queries[0], 0), atol=1e-5)


def test_memory_is_that_of_the_entries_and_little_more() -> None:
    rows = [even(400, n) for n in range(3)] + [uneven((300, 20), n) for n in range(4)]
    held = sum(row.num_entries for row in rows) * 2 * WIDTH * 4
    room = len(rows) * KV_HEADS * 2 * WIDTH * 4
    layer = RaggedLayer(rows, ["model"] * len(rows), room=1)
    # Filling up costs at most an eighth.
    assert held + room <= layer.allocated_bytes <= 1.125 * held + room


def test_rewinding_forgets_what_came_after_the_prompt() -> None:
    cache = RaggedCache([RaggedLayer(ROWS, MODEL, room=4)], num_seen=50)
    attend, module = ragged_attention(cache), type("Module", (), {"layer_idx": 0})()
    queries, keys, values = (torch.randn(len(ROWS), n, 2, WIDTH) for n in (HEADS, 2, 2))

    def once() -> torch.Tensor:
        cache.update(keys, values, 0)
        return attend(module, queries, keys, values, None)[0]

    first = once()
    assert cache.get_seq_length() == 52
    cache.rewind()
    assert cache.get_seq_length() == 50
    assert torch.equal(once(), first)


def test_removing_an_entry_leaves_the_others() -> None:
    layer = RaggedLayer(ROWS, MODEL, room=1)
    layer.remove(0, 3)
    queries = torch.randn(len(ROWS), HEADS, 1, WIDTH)
    left = [n for n in range(40) if n != 3]
    kept = Entries(
        keys=ROWS[0].keys[:, left], values=ROWS[0].values[:, left], indices=ROWS[0].indices[:, left]
    )
    found = layer.attend(queries, WIDTH**-0.5).transpose(1, 2)
    for number, row in enumerate([kept, *ROWS[1:]]):
        assert torch.allclose(found[number], expected(row, [], queries[number], number), atol=1e-5)
    assert layer.length(0) == 39


def test_attention_that_it_does_not_know_is_refused() -> None:
    cache = RaggedCache([RaggedLayer(ROWS, MODEL, room=1)], num_seen=50)
    module = type("Module", (), {"layer_idx": 0})()
    some = torch.randn(len(ROWS), HEADS, 1, WIDTH)
    with pytest.raises(NotImplementedError, match="softcap"):
        ragged_attention(cache)(module, some, some, some, None, softcap=30.0)
