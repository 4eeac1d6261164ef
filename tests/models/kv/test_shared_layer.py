"""Rows behind one prefix, against attention over each row's own copy of everything."""

import pytest
import torch

from encodeonce.models.kv.kernels.parts import _products, attend_part, bias_of, union
from encodeonce.models.kv.layers.shared import SharedLayer

HEADS, KV_HEADS, WIDTH, NUM_PREFIX = 6, 2, 16, 37
SCALING = WIDTH**-0.5


def expected(
    queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, padding: int
) -> torch.Tensor:
    """Return attention (Q, H, D) of a row's last Q tokens over its prefix and its own tokens."""
    num_queries, num_keys = queries.shape[1], keys.shape[1]
    visible = torch.ones(num_queries, num_keys, dtype=torch.bool).tril(num_keys - num_queries)
    visible[:, NUM_PREFIX : NUM_PREFIX + padding] = False
    groups = HEADS // KV_HEADS
    taken = torch.nn.functional.scaled_dot_product_attention(
        queries[None],
        keys.repeat_interleave(groups, 0)[None],
        values.repeat_interleave(groups, 0)[None],
        visible,
        scale=SCALING,
    )
    return taken[0].transpose(0, 1)


@pytest.mark.parametrize("paddings", [(0, 0, 0), (0, 4, 2)])
@pytest.mark.parametrize("room", [1, 64])
def test_every_row_sees_the_prefix_and_its_own_tokens(paddings: tuple[int, ...], room: int) -> None:
    torch.manual_seed(0)
    prefix = torch.randn(2, KV_HEADS, NUM_PREFIX, WIDTH)
    layer = SharedLayer(*prefix, paddings, room)
    own = torch.empty(2, len(paddings), KV_HEADS, 0, WIDTH)
    for num_new in (7, 1, 1, 3):
        queries = torch.randn(len(paddings), HEADS, num_new, WIDTH)
        keys, values = torch.randn(2, len(paddings), KV_HEADS, num_new, WIDTH)
        own = torch.cat([own, torch.stack([keys, values])], dim=3)
        layer.append(keys, values)
        found = layer.attend(queries, SCALING)
        for row, padding in enumerate(paddings):
            whole = torch.cat([prefix, own[:, row]], dim=2)
            right = expected(queries[row], *whole, padding)
            first = padding if own.shape[3] == num_new else 0  # padding's own output is not used
            assert torch.allclose(found[row, first:], right[first:], atol=1e-5)
        assert [layer.length(row) for row in range(len(paddings))] == [
            NUM_PREFIX + own.shape[3] - padding for padding in paddings
        ]


def test_rows_that_are_dropped_leave_the_others_as_they_are() -> None:
    torch.manual_seed(0)
    prefix = torch.randn(2, KV_HEADS, NUM_PREFIX, WIDTH)
    states = torch.randn(2, 3, KV_HEADS, 5, WIDTH)
    whole, cut = (SharedLayer(*prefix, (0, 3, 1), 5) for _ in range(2))
    for layer in (whole, cut):
        layer.append(*states)
    cut.keep([2, 1])
    more = torch.randn(2, 3, KV_HEADS, 1, WIDTH)
    queries = torch.randn(3, HEADS, 1, WIDTH)
    whole.append(*more)
    cut.append(*more[:, [2, 1]])
    expected_rows = whole.attend(queries, SCALING)[[2, 1]]
    assert torch.allclose(cut.attend(queries[[2, 1]], SCALING), expected_rows, atol=1e-6)


def test_the_prefix_is_looked_at_and_not_copied() -> None:
    prefix = torch.randn(2, KV_HEADS, 4096, WIDTH)
    layer = SharedLayer(*prefix, (0,) * 8, 1)
    assert layer.allocated_bytes == 2 * 8 * KV_HEADS * 1 * WIDTH * 4
    before = prefix.clone()
    layer.append(*torch.randn(2, 8, KV_HEADS, 3, WIDTH))
    assert torch.equal(prefix, before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_parts_of_the_keys_join_to_the_whole(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    queries = torch.randn(2, 3, 4, WIDTH).to(dtype)
    keys, values = torch.randn(2, 2, 3, 20, WIDTH).to(dtype)
    visible = (torch.rand(2, 1, 4, 20) > 0.5) | (torch.arange(20) % 9 == 0)
    bias = bias_of(visible, dtype)
    whole = attend_part(queries, keys, values, SCALING, bias)
    cuts = [slice(0, 9), slice(9, 20)]
    for attend in (attend_part, _products):
        parts = [
            attend(queries, keys[:, :, c], values[:, :, c], SCALING, bias[..., c]) for c in cuts
        ]
        tolerance = 1e-5 if dtype == torch.float32 else 2e-2
        assert torch.allclose(union(parts).float(), whole.output.float(), atol=tolerance)
