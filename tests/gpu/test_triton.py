"""Triton's kernel for quantised entries: run or interpreted, and compiled for GPUs not here."""

import importlib.util
import os

import pytest
import torch

from encodeonce.models.kv.kernels.quantised import _TOLERANCE, largest_difference
from encodeonce.models.kv.storage import Precision

GPUS = {"Ampere": 80, "Hopper": 90}
SHARED_BYTES = 99 * 1024
"""What a program may have at least on these and on smaller GPUs of their kind."""


@pytest.mark.parametrize("precision", ["int8", "int4"])
@pytest.mark.parametrize("width", [16, 64, 80, 128])
@pytest.mark.parametrize("dtype", _TOLERANCE, ids=str)
def test_entries_are_attended_to_as_a_copy_would_be(
    triton_device: torch.device, dtype: torch.dtype, width: int, precision: Precision
) -> None:
    if dtype == torch.bfloat16 and triton_device.type == "cpu":
        pytest.skip("Triton's interpreter does not multiply in bfloat16")
    allowed = 1e-5 if dtype == torch.float32 else _TOLERANCE[dtype]
    assert largest_difference(triton_device, dtype, width, precision) <= allowed


@pytest.mark.skipif(
    importlib.util.find_spec("triton") is None or os.environ.get("TRITON_INTERPRET") == "1",
    reason="needs Triton, not interpreted: type `make test-triton`",
)
@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize(
    ("dtype", "queries"), [("bf16", 1), ("bf16", 48), ("fp16", 1), ("fp16", 48), ("fp32", 1)]
)
@pytest.mark.parametrize("gpu_name", GPUS)
def test_the_kernel_compiles_to_machine_code(
    gpu_name: str, dtype: str, bits: int, queries: int
) -> None:
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from encodeonce.models.kv.kernels.quantised_triton import attend_range, block_sizes

    width = 128
    block_m, block_d = block_sizes(queries, width)
    constants = {"BITS": bits, "WIDTH": width, "BLOCK_D": block_d, "BLOCK_M": block_m, "GROUP": 32}
    # Triton makes constants of numbers that are 1.
    constants |= dict.fromkeys(("key_dim", "channel_dim", "value_dim", "entry_entry"), 1)
    constants |= {"num_queries": 1} if queries == 1 else {}
    types = {
        **dict.fromkeys(attend_range.arg_names, "i32"),
        "queries": f"*{dtype}",
        **dict.fromkeys(("key_whole", "value_whole"), "*u8"),
        **dict.fromkeys(("key_scale", "key_least", "value_scale", "value_least"), "*fp16"),
        "starts": "*i64",
        **dict.fromkeys(("outputs", "log_sums"), "*fp32"),
        "scaling": "fp32",
        **dict.fromkeys(constants, "constexpr"),
    }
    places = {(attend_range.arg_names.index(name),): value for name, value in constants.items()}
    source = ASTSource(attend_range, signature=types, constexprs=places)
    compiled = triton.compile(source, target=GPUTarget("cuda", GPUS[gpu_name], 32))
    assert compiled.asm["cubin"]
    assert compiled.metadata.shared <= SHARED_BYTES
    if dtype != "fp32":
        assert "mma" in compiled.asm["ptx"], "tensor cores are not used"
