"""The Triton kernel behind `quantised.py`. Importing this file imports Triton.

Each program attends some queries of one head to a range of its entries, with a running maximum and
sum for each query (Milakov and Gimelshein, 2018, arXiv:1805.02867, algorithm 3); ranges are joined
afterwards. A tile is one quantisation group of keys, and its values.
"""

import torch
import triton
from triton import language as tl

from encodeonce.models.kv.storage import GROUP, Quantised

_MOST_ROWS, _MOST_ELEMENTS = 64, 2**13
"""Queries of one program, and numbers that it keeps of their output; more are split."""


@triton.jit
def attend_range(  # noqa: D103, N803 - upper case is Triton's way to write constants
    queries,
    key_whole,
    key_scale,
    key_least,
    value_whole,
    value_scale,
    value_least,
    starts,
    outputs,
    log_sums,
    scaling,
    num_queries,
    num_entries,
    num_groups,
    range_groups,
    key_unit,
    key_group,
    key_dim,
    key_inside,
    channel_unit,
    channel_group,
    channel_dim,
    value_unit,
    value_entry,
    value_dim,
    entry_unit,
    entry_entry,
    BITS: tl.constexpr,
    WIDTH: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_M: tl.constexpr,
    GROUP: tl.constexpr,
):
    unit = tl.program_id(0).to(tl.int64)
    part = tl.program_id(2)
    rows = tl.program_id(1) * BLOCK_M + tl.arange(0, BLOCK_M)
    dims, inside = tl.arange(0, BLOCK_D), tl.arange(0, GROUP)
    is_dim = dims < WIDTH
    is_query = (rows < num_queries)[:, None] & is_dim[None, :]
    at_query = (unit * num_queries + rows)[:, None] * WIDTH + dims[None, :]
    query = tl.load(queries + at_query, mask=is_query, other=0.0)
    # Groups are counted from the last entry: the first may begin with filling.
    lacking = num_groups * GROUP - num_entries
    start = tl.load(starts + unit).to(tl.int32)
    first = tl.maximum(part * range_groups, (start + lacking) // GROUP)
    last = tl.minimum((part + 1) * range_groups, num_groups)
    most = tl.full((BLOCK_M,), float("-inf"), tl.float32)
    total = tl.zeros((BLOCK_M,), tl.float32)
    taken = tl.zeros((BLOCK_M, BLOCK_D), tl.float32)
    for group in range(first, last):
        entries = group * GROUP + inside - lacking
        is_seen = entries >= start
        channel = unit * channel_unit + group * channel_group + dims * channel_dim
        scale = tl.load(key_scale + channel, mask=is_dim, other=0.0).to(tl.float32)
        least = tl.load(key_least + channel, mask=is_dim, other=0.0).to(tl.float32)
        byte = (inside * BITS // 8 * key_inside)[None, :]
        at_key = unit * key_unit + group * key_group + (dims * key_dim)[:, None] + byte
        whole = tl.load(key_whole + at_key, mask=is_dim[:, None], other=0).to(tl.int32)
        if BITS == 4:
            whole = (whole >> (inside % 2 * 4)[None, :]) & 15
        key = whole.to(tl.float32) * scale[:, None] + least[:, None]
        scores = tl.dot(query, key.to(query.dtype), input_precision="ieee") * scaling
        scores = tl.where(is_seen[None, :], scores, float("-inf"))
        # Every group of the range has an entry that is seen, so this is a number.
        new_most = tl.maximum(most, tl.max(scores, 1))
        weights = tl.exp(scores - new_most[:, None])
        shrunk = tl.exp(most - new_most)
        entry = unit * entry_unit + entries * entry_entry
        scale = tl.load(value_scale + entry, mask=is_seen, other=0.0).to(tl.float32)
        least = tl.load(value_least + entry, mask=is_seen, other=0.0).to(tl.float32)
        byte = (dims * BITS // 8 * value_dim)[None, :]
        at_value = unit * value_unit + (entries * value_entry)[:, None] + byte
        is_value = is_seen[:, None] & is_dim[None, :]
        whole = tl.load(value_whole + at_value, mask=is_value, other=0).to(tl.int32)
        if BITS == 4:
            whole = (whole >> (dims % 2 * 4)[None, :]) & 15
        value = (whole.to(tl.float32) * scale[:, None] + least[:, None]).to(query.dtype)
        mine = tl.dot(weights.to(query.dtype), value, input_precision="ieee")
        taken = taken * shrunk[:, None] + mine
        total = total * shrunk + tl.sum(weights, 1)
        most = new_most
    # A range before a head's first entry has seen nothing: no share in the union.
    is_empty = total == 0
    taken = taken / tl.where(is_empty, 1.0, total)[:, None]
    log_sum = tl.where(is_empty, float("-inf"), most + tl.log(tl.where(is_empty, 1.0, total)))
    first_row = part.to(tl.int64) * tl.num_programs(0) * num_queries
    tl.store(outputs + first_row * WIDTH + at_query, taken, mask=is_query)
    tl.store(log_sums + first_row + unit * num_queries + rows, log_sum, mask=rows < num_queries)


def block_sizes(num_queries: int, width: int) -> tuple[int, int]:
    """Return the queries and the width of a tile: powers of two, at least 16 for `tl.dot`."""
    block_d = max(16, triton.next_power_of_2(width))
    rows = min(triton.next_power_of_2(num_queries), _MOST_ROWS, _MOST_ELEMENTS // block_d)
    return max(16, rows), block_d


def launch(
    queries: torch.Tensor,
    keys: Quantised,
    values: Quantised,
    starts: torch.Tensor,
    scaling: float,
    num_programs: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Run the kernel.

    Args:
        queries: (U, M, D), contiguous.
        keys: of U heads.
        values: likewise.
        starts: (U,) the first entry of each head; those before it are filling.
        scaling: of the products.
        num_programs: to keep the device busy with; entries are split if there are fewer.

    Returns:
        Outputs (parts, U, M, D) and logarithms of sums (parts, U, M), float32.
    """
    num_units, num_queries, width = queries.shape
    num_groups = keys.whole.shape[1]
    block_m, block_d = block_sizes(num_queries, width)
    num_blocks = triton.cdiv(num_queries, block_m)
    wanted = triton.cdiv(num_programs, num_units * num_blocks)
    range_groups = triton.cdiv(num_groups, min(wanted, max(1, num_groups // 4)))
    num_parts = triton.cdiv(num_groups, range_groups)
    outputs = queries.new_empty(num_parts, *queries.shape, dtype=torch.float32)
    log_sums = queries.new_empty(num_parts, num_units, num_queries, dtype=torch.float32)
    attend_range[(num_units, num_blocks, num_parts)](
        queries,
        *keys[:3],
        *values[:3],
        starts,
        outputs,
        log_sums,
        scaling,
        num_queries,
        keys.num_entries,
        num_groups,
        range_groups,
        *keys.whole.stride(),
        *_strides_of_scale(keys),
        *values.whole.stride(),
        *_strides_of_scale(values),
        BITS=keys.bits,
        WIDTH=width,
        BLOCK_D=block_d,
        BLOCK_M=block_m,
        GROUP=GROUP,
    )
    return outputs, log_sums


def _strides_of_scale(stored: Quantised) -> tuple[int, ...]:
    """Return the strides of scales, which have to be those of minima, without the last."""
    assert stored.scale.stride() == stored.least.stride()
    return stored.scale.stride()[:-1]
