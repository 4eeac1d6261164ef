"""Every way of adding products against a loop over rows; and which rows keep their bits."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from encodeonce.models.adapters.checkpoint import LowRank
from encodeonce.models.adapters.operators import (
    KINDS,
    Kind,
    Stack,
    by_rows,
    gather,
    offers,
    single,
    stacked,
    usual,
)
from encodeonce.models.language.adapting import BASE, AdaptedRows, adapted_rows, using

CPU = torch.device("cpu")
every_kind = pytest.mark.parametrize("kind", list(KINDS))


def product(inputs: int, outputs: int, rank: int, seed: int, *, has_bias: bool = False) -> LowRank:
    noise = torch.Generator().manual_seed(seed)
    return LowRank(
        a=torch.randn(rank, inputs, generator=noise),
        b=torch.randn(outputs, rank, generator=noise),
        bias=torch.randn(outputs, generator=noise) if has_bias else None,
        scaling=1.5 - seed / 8,
    )


def by_loop(
    products: Mapping[int, LowRank], index: Sequence[int], x: torch.Tensor, y: torch.Tensor
) -> torch.Tensor:
    """Return y with every row's product added, in double precision."""
    rows = []
    for number, x_TI, y_TO in zip(index, x.double(), y.double(), strict=True):
        one = products.get(number)
        if one is not None:
            added = x_TI @ one.a.double().T @ one.b.double().T
            added = added if one.bias is None else added + one.bias.double()
            y_TO = y_TO + one.scaling * added
        rows.append(y_TO)
    return torch.stack(rows)


@st.composite
def cases(draw: st.DrawFn) -> tuple[dict[int, LowRank], list[int], int, int, int]:
    """Draw products of some adapters, rows under any, and (T, I, O)."""
    inputs, outputs = (draw(st.integers(1, 12)) for _ in range(2))
    numbers = draw(st.lists(st.integers(0, 6), min_size=1, max_size=5, unique=True))
    products = {
        number: product(
            inputs, outputs, draw(st.integers(1, 7)), number, has_bias=draw(st.booleans())
        )
        for number in sorted(numbers)
    }
    index = draw(st.lists(st.integers(BASE, 6), min_size=1, max_size=9))
    return products, index, draw(st.integers(1, 3)), inputs, outputs


@settings(max_examples=60, deadline=None)
@given(case=cases())
def test_every_kind_is_a_loop_over_rows(
    case: tuple[dict[int, LowRank], list[int], int, int, int],
) -> None:
    products, index, num_tokens, inputs, outputs = case
    noise = torch.Generator().manual_seed(len(index))
    x = torch.randn(len(index), num_tokens, inputs, generator=noise)
    y = torch.randn(len(index), num_tokens, outputs, generator=noise)
    stack, rows = stacked(products, CPU), AdaptedRows(index)
    expected = by_loop(products, index, x, y)
    for kind, add in KINDS.items():
        if not offers(kind, stack):
            continue
        got = add(stack, rows, x, y.clone())
        torch.testing.assert_close(got.double(), expected, rtol=1e-5, atol=2e-4, msg=kind)
        for row, number in enumerate(index):
            if number not in products:
                assert torch.equal(got[row], y[row]), f"{kind}: a row without an adapter"


@every_kind
def test_padding_of_ranks_changes_nothing(kind: Kind) -> None:
    narrow, wide = product(8, 12, 3, 0), product(8, 12, 24, 1)
    x, y = torch.randn(4, 1, 8), torch.randn(4, 1, 12)
    index = [0, BASE, 0, 0]
    alone = KINDS[kind](stacked({0: narrow}, CPU), AdaptedRows(index), x, y.clone())
    padded = KINDS[kind](stacked({0: narrow, 1: wide}, CPU), AdaptedRows(index), x, y)
    torch.testing.assert_close(padded, alone, rtol=0, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("has_bias", [False, True])
@pytest.mark.parametrize(
    ("inputs", "outputs", "rank"), [(64, 96, 8), (256, 128, 32), (16, 16, 5), (640, 1728, 16)]
)
def test_a_decoded_rows_bits_depend_on_itself_alone(
    inputs: int, outputs: int, rank: int, has_bias: bool, dtype: torch.dtype
) -> None:
    """Neither on its neighbours nor on the way, which is chosen by who they are."""
    products = {
        number: product(inputs, outputs, rank, number, has_bias=has_bias) for number in range(4)
    }
    stack = stacked(products, CPU)
    x, y = torch.randn(8, 1, inputs), torch.randn(8, 1, outputs, dtype=dtype)
    companies = ([2, *[BASE] * 7], [2] * 8, [2, 0, 1, 3, 0, 1, 2, 3], [2, 2, 2, 0, 0, 3, 3, 3])
    found = [
        add(stack, AdaptedRows(index), x, y.clone())[0]
        for index in companies
        for add in (by_rows, gather)
    ]
    assert not torch.equal(found[0], y[0])
    assert all(torch.equal(one, found[0]) for one in found)


def test_the_usual_way_copies_factors_where_they_are_few_or_used_again() -> None:
    """It is one of the two that promise a row its bits."""
    small = stacked({number: product(16, 16, 4, number) for number in range(3)}, CPU)
    large = stacked({number: product(2048, 2048, 64, number) for number in range(3)}, CPU)
    for stack, index, expected in (
        (small, [0, 0, 0, 0], "rows"),
        (small, [0, 1, 2, BASE], "gather"),
        (large, [0, 1, 2], "gather"),  # no more than the adapters themselves
        (large, [0, 1, 2, 2], "rows"),
        (large, [BASE, BASE, 1, 1], "rows"),
    ):
        assert usual(stack, AdaptedRows(index), 1) == expected, index
        assert usual(stack, AdaptedRows(index), 7) == "segment"


def test_grouped_products_want_aligned_widths() -> None:
    assert not offers("grouped", stacked({0: product(6, 8, 4, 0)}, CPU))
    assert offers("grouped", stacked({0: product(8, 12, 3, 0)}, CPU))


@pytest.mark.parametrize("index", [[0, 0, 0], [0, 1, 0]])
def test_a_sum_is_rounded_once_to_the_outputs_precision(index: list[int]) -> None:
    products = {number: product(8, 512, 4, number, has_bias=True) for number in range(2)}
    stack = stacked(products, CPU)
    x, y = torch.randn(3, 1, 8), torch.randn(3, 1, 512, dtype=torch.bfloat16)
    expected = (y.float() + stack.product(0, x)).bfloat16()
    assert torch.equal(single(stack, 0, x, y), expected)
    expected = by_loop(products, index, x, y).bfloat16()
    for kind, add in KINDS.items():
        got = add(stack, AdaptedRows(index), x, y.clone())
        assert got.dtype == torch.bfloat16
        # But for sums in the middle between two; rounding products first changes every fifth.
        assert (got == expected).float().mean() > 0.98, kind


@every_kind
def test_gradients_are_those_of_a_loop(kind: Kind) -> None:
    products = {number: product(8, 12, 4, number) for number in range(3)}
    index = [0, BASE, 1, 2, 1, 2]
    x = torch.randn(len(index), 1, 8, requires_grad=True)
    y = torch.randn(len(index), 1, 12, requires_grad=True)
    wanted = torch.autograd.grad(by_loop(products, index, x, y).square().sum(), (x, y))
    found = KINDS[kind](stacked(products, CPU), AdaptedRows(index), x, y.clone())
    got = torch.autograd.grad(found.square().sum(), (x, y))
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-3)


def test_copies_of_factors_are_held_for_the_next_passes_unless_they_are_large() -> None:
    for outputs, is_held in ((16, True), (2**15, False)):
        stack = stacked({number: product(16, outputs, 4, number) for number in range(2)}, CPU)
        rows = AdaptedRows([0, 1, 0])
        x, y = torch.randn(3, 1, 16), torch.randn(3, 1, outputs)
        first, again = (gather(stack, rows, x, y.clone()) for _ in range(2))
        assert torch.equal(first, again)
        assert bool(rows.held) == is_held


def test_one_adapter_for_everything_takes_any_shape() -> None:
    stack: Stack = stacked({2: product(8, 6, 4, 0)}, CPU)
    x, y = torch.randn(2, 3, 5, 8), torch.randn(2, 3, 5, 6)
    assert torch.equal(single(stack, 0, x, y), y)  # adapts other modules
    torch.testing.assert_close(single(stack, 2, x, y)[1, 2], single(stack, 2, x[1, 2], y[1, 2]))


def test_nested_blocks_and_exceptions_put_back_what_was() -> None:
    assert adapted_rows() is None
    with using([0, BASE]):
        outer = adapted_rows()
        with pytest.raises(MemoryError), using(3):
            assert adapted_rows() is not outer
            raise MemoryError
        assert adapted_rows() is outer
        with using(BASE):
            inner = adapted_rows()
            assert inner is not None and inner.is_base
        assert adapted_rows() is outer
    assert adapted_rows() is None


def test_a_block_is_about_its_own_thread() -> None:
    with using([0, BASE]), ThreadPoolExecutor(max_workers=1) as pool:
        assert pool.submit(adapted_rows).result() is None
        with using(3):
            assert pool.submit(adapted_rows).result() is None


@pytest.mark.parametrize("index", [-2, [0, -3], [[0, 1], [2]]])
def test_numbers_that_mean_nothing(index: int | list[int] | list[list[int]]) -> None:
    with pytest.raises(ValueError, match="numbered from 0|different numbers of tokens"):
        AdaptedRows(index)
