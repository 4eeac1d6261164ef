"""Rounding, against the formulas of AWQ and of compressed-tensors written out here."""

import pytest
import torch

from encodeonce.models.quantization.grid import Codes, Grid, dense_linear, quantize, rounded
from encodeonce.models.quantization.int4_linear import Int4Linear


@pytest.fixture
def weight() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(6, 64, generator=generator)
    weight[0, :16] = 0.0
    weight[1, :16] = weight[1, :16].abs()  # a group of one sign
    weight[2, 5] = 40.0
    return weight


@pytest.mark.parametrize("num_bits", [4, 8])
@pytest.mark.parametrize("symmetric", [False, True])
def test_every_weight_is_rounded_by_the_formula(
    weight: torch.Tensor, num_bits: int, symmetric: bool
) -> None:
    grid = Grid(num_bits=num_bits, group_size=16, symmetric=symmetric)
    found = quantize(weight, grid)
    last = 2**num_bits - 1
    for row in range(6):
        for group in range(4):
            values = weight[row, 16 * group : 16 * (group + 1)].tolist()
            high, low = max(*values, 0.0), min(*values, 0.0)
            spread = 2 * max(high, -low) if symmetric else high - low
            scale = torch.tensor(max(spread, 1e-5) / last, dtype=torch.float32).item()
            zero = 2 ** (num_bits - 1) if symmetric else min(max(round(-low / scale), 0), last)
            assert found.scales[row, group].item() == pytest.approx(scale, rel=1e-6)
            assert found.zeros[row, group].item() == zero
            for n, value in enumerate(values):
                code = found.codes[row, 16 * group + n].item()
                wanted = value / scale + zero
                assert 0 <= code <= last
                # Nearest, but for what lies beyond the grid's ends.
                assert abs(code - min(max(wanted, 0), last)) <= 0.5 + 1e-4


def test_the_error_is_at_most_half_a_step(weight: torch.Tensor) -> None:
    grid = Grid(group_size=16)
    steps = quantize(weight, grid).scales.repeat_interleave(16, 1)
    # A zero is rounded too, which moves a group's ends by up to half a step more.
    assert bool(((rounded(weight, grid) - weight).abs() <= steps + 1e-6).all())
    assert not rounded(weight, grid)[0, :16].any()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_codes_are_chosen_for_the_scale_that_is_stored(
    weight: torch.Tensor, dtype: torch.dtype
) -> None:
    codes = quantize(weight.to(dtype), Grid(group_size=16))
    assert codes.scales.dtype is dtype
    dense = codes.dense()
    assert dense.dtype is dtype
    steps = codes.scales.float().repeat_interleave(16, 1)
    wanted = weight.to(dtype).float() / steps + codes.zeros.repeat_interleave(16, 1)
    assert bool(((codes.codes - wanted.clamp(0, 15)).abs() <= 0.5 + 1e-4).all())


def test_groups_need_not_be_runs_of_inputs() -> None:
    codes = Codes(
        codes=torch.tensor([[3, 9, 4, 0]], dtype=torch.uint8),
        zeros=torch.tensor([[1, 8]], dtype=torch.uint8),
        scales=torch.tensor([[0.5, 2.0]]),
        groups=torch.tensor([0, 1, 0, 1]),
    )
    assert codes.dense().tolist() == [[1.0, 2.0, 1.5, -16.0]]


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_pytorchs_4_bit_kernel_computes_the_same_weights(symmetric: bool, bias: bool) -> None:
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(48, 128, generator=generator) * 0.05
    x = torch.randn(3, 7, 128, generator=generator).bfloat16()
    codes = quantize(weight.bfloat16(), Grid(group_size=32, symmetric=symmetric))
    added = torch.randn(48, generator=generator).bfloat16() if bias else None
    packed = Int4Linear(codes, added, torch.bfloat16, torch.device("cpu"))
    expected = dense_linear(codes.dense(), added)(x).float()
    assert packed.packed.nbytes == 48 * 128 // 2
    assert torch.allclose(packed(x).float(), expected, atol=0.02, rtol=0.02)
