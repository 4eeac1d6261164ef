"""Packed layouts against bit arithmetic written out here, and against their own libraries."""

from typing import Any

import pytest
import torch
from compressed_tensors.compressors import BaseCompressor
from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme

from encodeonce.models.quantization.grid import Codes, Grid, quantize
from encodeonce.models.quantization.layouts.awq import AwqGemm
from encodeonce.models.quantization.layouts.compressed_tensors import PackQuantized, pack
from encodeonce.models.quantization.layouts.gptq import Gptq
from encodeonce.models.quantization.registry import WeightsError

NUM_OUTPUTS, NUM_INPUTS, GROUP = 16, 64, 32


def signed(number: int) -> int:
    """Return a number of 32 bits as int32 holds it."""
    return number - 2**32 if number >= 2**31 else number


def pack_row(fields: list[int], num_bits: int, order: list[int]) -> list[int]:
    """Pack numbers into int32s: field ``order[n]`` of each run lies at bit ``n * num_bits``."""
    run = 32 // num_bits
    return [
        signed(sum(fields[start + order[n]] << (n * num_bits) for n in range(run)))
        for start in range(0, len(fields), run)
    ]


def pack_rows(matrix: torch.Tensor, num_bits: int, order: list[int]) -> torch.Tensor:
    rows = [pack_row(row, num_bits, order) for row in matrix.tolist()]
    return torch.tensor(rows, dtype=torch.int32)


@pytest.fixture
def codes() -> Codes:
    generator = torch.Generator().manual_seed(0)

    def whole(*shape: int) -> torch.Tensor:
        return torch.randint(0, 16, shape, generator=generator, dtype=torch.uint8)

    scales = torch.rand(NUM_OUTPUTS, NUM_INPUTS // GROUP, generator=generator).half() / 10
    codes, zeros = whole(NUM_OUTPUTS, NUM_INPUTS), whole(NUM_OUTPUTS, NUM_INPUTS // GROUP)
    return Codes(codes=codes, zeros=zeros, scales=scales)


def test_awq_gemm(codes: Codes) -> None:
    # Eight outputs of one input lie in an int32 in this order, lowest bits first.
    order = [0, 2, 4, 6, 1, 3, 5, 7]
    stored = {
        "qweight": pack_rows(codes.codes.t(), 4, order),
        "qzeros": pack_rows(codes.zeros.t(), 4, order),
        "scales": codes.scales.t().contiguous(),
    }
    assert stored["qweight"].shape == (NUM_INPUTS, NUM_OUTPUTS // 8)
    assert_same(AwqGemm({"bits": 4, "version": "gemm"}).unpack(stored), codes)


def test_awq_of_another_kind_is_refused() -> None:
    with pytest.raises(WeightsError, match="GEMM layout with 4 bits; this one is gemv with 4"):
        AwqGemm({"bits": 4, "version": "GEMV"})


@pytest.mark.parametrize("num_bits", [4, 8])
@pytest.mark.parametrize(("kind", "offset"), [("gptq", 1), ("gptq_v2", 0)])
def test_gptq(codes: Codes, num_bits: int, kind: str, offset: int) -> None:
    in_order = list(range(32 // num_bits))
    least_one = Codes(codes=codes.codes, zeros=codes.zeros.clamp(min=1), scales=codes.scales)
    stored = {
        "qweight": pack_rows(codes.codes, num_bits, in_order).t().contiguous(),
        "qzeros": pack_rows(least_one.zeros.t().int() - offset, num_bits, in_order),
        "scales": codes.scales.t().contiguous(),
        "g_idx": torch.arange(NUM_INPUTS) // GROUP,
    }
    layout = Gptq({"bits": num_bits, "checkpoint_format": kind})
    assert_same(layout.unpack(stored), least_one)


def test_gptq_with_groups_in_another_order(codes: Codes) -> None:
    groups = torch.arange(NUM_INPUTS).flip(0) // GROUP
    stored = {
        "qweight": pack_rows(codes.codes, 4, list(range(8))).t().contiguous(),
        "qzeros": pack_rows(codes.zeros.t(), 4, list(range(8))),
        "scales": codes.scales.t().contiguous(),
        "g_idx": groups,
    }
    dense = Gptq({"bits": 4, "checkpoint_format": "gptq_v2"}).unpack(stored).dense()
    for o, i in ((0, 0), (3, 40), (15, 63)):
        group = groups[i]
        difference = int(codes.codes[o, i]) - int(codes.zeros[o, group])
        assert dense[o, i].item() == (difference * codes.scales[o, group].float()).half().item()


@pytest.mark.parametrize("stored_zero", [7, 8])
def test_a_symmetric_gptq_checkpoint_has_its_zero_in_the_middle_whatever_it_says(
    codes: Codes, stored_zero: int
) -> None:
    zeros = torch.full((NUM_INPUTS // GROUP, NUM_OUTPUTS), stored_zero)
    stored = {
        "qweight": pack_rows(codes.codes, 4, list(range(8))).t().contiguous(),
        "qzeros": pack_rows(zeros, 4, list(range(8))),
        "scales": codes.scales.t().contiguous(),
    }
    found = Gptq({"bits": 4, "checkpoint_format": "gptq", "sym": True}).unpack(stored)
    assert set(found.zeros.flatten().tolist()) == {8}


def test_gptq_of_another_kind_is_refused() -> None:
    with pytest.raises(WeightsError, match="3 bits as gptq"):
        Gptq({"bits": 3})
    with pytest.raises(WeightsError, match="4 bits as marlin"):
        Gptq({"bits": 4, "checkpoint_format": "marlin"})


def settings(grid: Grid) -> dict[str, Any]:
    weights = {
        "num_bits": grid.num_bits,
        "type": "int",
        "symmetric": grid.symmetric,
        "strategy": "group",
        "group_size": grid.group_size,
    }
    return {"format": "pack-quantized", "config_groups": {"group_0": {"weights": weights}}}


@pytest.mark.parametrize("num_bits", [4, 8])
@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("num_outputs", [16, 12])
def test_pack_quantized(num_bits: int, symmetric: bool, num_outputs: int) -> None:
    grid = Grid(num_bits=num_bits, group_size=GROUP, symmetric=symmetric)
    generator = torch.Generator().manual_seed(2)
    codes = quantize(torch.randn(num_outputs, NUM_INPUTS, generator=generator), grid)
    stored = pack(codes, grid)
    in_order = list(range(32 // num_bits))
    assert torch.equal(stored["weight_packed"], pack_rows(codes.codes, num_bits, in_order))
    assert stored["weight_shape"].tolist() == [num_outputs, NUM_INPUTS]
    assert ("weight_zero_point" in stored) != symmetric
    if not symmetric:
        filled = torch.nn.functional.pad(codes.zeros.t().int(), (0, -num_outputs % len(in_order)))
        expected = pack_rows(filled, num_bits, in_order).t()
        assert torch.equal(stored["weight_zero_point"], expected)
    assert_same(PackQuantized(settings(grid)).unpack(stored), codes)


@pytest.mark.parametrize("symmetric", [False, True])
def test_compressed_tensors_itself_unpacks_the_same_weights(symmetric: bool) -> None:
    grid = Grid(group_size=GROUP, symmetric=symmetric)
    generator = torch.Generator().manual_seed(3)
    codes = quantize(torch.randn(NUM_OUTPUTS, NUM_INPUTS, generator=generator).bfloat16(), grid)
    arguments = QuantizationArgs(**settings(grid)["config_groups"]["group_0"]["weights"])
    scheme = QuantizationScheme(targets=["Linear"], weights=arguments)
    compressor = BaseCompressor.get_value_from_registry("pack-quantized")
    theirs = compressor.decompress(pack(codes, grid), scheme)["weight"]
    assert torch.equal(theirs, codes.dense())


def assert_same(found: Codes, expected: Codes) -> None:
    assert torch.equal(found.codes, expected.codes)
    assert torch.equal(found.zeros, expected.zeros)
    assert torch.equal(found.scales, expected.scales)
    assert found.groups is None
    by_hand = (expected.codes.int() - expected.zeros.int().repeat_interleave(GROUP, 1)).float()
    by_hand = by_hand * expected.scales.float().repeat_interleave(GROUP, 1)
    assert torch.equal(found.dense(), by_hand.to(expected.scales.dtype))
