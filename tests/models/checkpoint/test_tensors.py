"""Tensors to arrays and back, bit for bit."""

import numpy as np
import pytest
import torch

from encodeonce.models.checkpoint.tensors import to_array, to_tensor


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_every_bit_pattern_survives(dtype: torch.dtype) -> None:
    words = torch.arange(2**16, dtype=torch.int32)
    if dtype == torch.float32:
        words = torch.cat([words, words.flip(0)])
    values = words.to(torch.uint16).view(dtype)
    back = to_tensor(to_array(values.reshape(4, -1)), torch.device("cpu"))
    assert back.dtype == dtype
    assert torch.equal(back.view(torch.uint8), values.reshape(4, -1).view(torch.uint8))


def test_read_only_memory_is_copied() -> None:
    array = np.zeros(3, np.float32)
    array.setflags(write=False)
    to_tensor(array, torch.device("cpu")).add_(1)
    assert array.sum() == 0
