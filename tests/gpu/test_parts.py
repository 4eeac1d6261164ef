"""Every kernel that may attend to a part of the keys, against float64."""

import pytest
import torch

from encodeonce.models.kv.kernels.parts import _KERNELS, PartKernel, part_kernel, union
from tests.gpu.shapes import PARTS, PartCase, exact

TOLERANCE = {torch.float32: 1e-5, torch.float16: 4e-3, torch.bfloat16: 3.2e-2}


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("case", PARTS, ids=lambda case: case.name)
@pytest.mark.parametrize("kernel", ["flash", "efficient", "products"])
def test_a_part_and_its_logarithm_are_right(
    gpu: torch.device, kernel: PartKernel, case: PartCase, dtype: torch.dtype
) -> None:
    if kernel == "flash" and (case.is_masked or dtype == torch.float32):
        pytest.skip("the flash kernel takes neither masks nor float32")
    queries, keys, values, bias = case.tensors(gpu, dtype)
    found = _KERNELS[kernel](queries, keys, values, case.width**-0.5, bias)
    expected = exact(queries, keys, values, bias)
    assert found.log_sum.shape == expected.log_sum.shape
    assert (found.output.double().cpu() - expected.output).abs().max() <= TOLERANCE[dtype]
    assert (found.log_sum.double().cpu() - expected.log_sum).abs().max() <= 5 * TOLERANCE[dtype]


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_parts_of_different_kernels_join(gpu: torch.device, dtype: torch.dtype) -> None:
    queries, keys, values, _ = PARTS[0].tensors(gpu, dtype)
    cuts = slice(0, 1000), slice(1000, None)
    kernels: tuple[PartKernel, PartKernel] = "efficient", "products"
    found = union(
        [
            _KERNELS[kernel](queries, keys[:, :, cut], values[:, :, cut], 128**-0.5, None)
            for kernel, cut in zip(kernels, cuts, strict=True)
        ]
    )
    expected = exact(queries, keys, values, None)
    assert (found.double().cpu() - expected.output).abs().max() <= TOLERANCE[dtype]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_a_fused_kernel_is_chosen(gpu: torch.device, dtype: torch.dtype) -> None:
    if torch.cuda.get_device_capability(gpu) < (8, 0):
        pytest.skip("earlier GPUs than Ampere have no flash kernel")
    assert part_kernel(gpu, dtype, (128, 128), is_masked=False) == "flash"
    assert part_kernel(gpu, dtype, (128, 128), is_masked=True) == "efficient"
