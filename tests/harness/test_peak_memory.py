"""The peak of memory, and beginning again."""

import os

import numpy as np
import pytest
import torch

from encodeonce.harness.peak_memory import peak_bytes, reset_peak

BLOCK_BYTES = 64 * 2**20


@pytest.mark.skipif(
    torch.cuda.is_available() or not os.access("/proc/self/clear_refs", os.W_OK),
    reason="this system does not forget a peak of resident memory",
)
def test_a_peak_is_seen_after_it_is_over_and_forgotten_on_demand() -> None:
    reset_peak()
    before = peak_bytes()
    np.ones(BLOCK_BYTES, dtype=np.uint8)
    assert peak_bytes() >= before + BLOCK_BYTES // 2
    reset_peak()
    assert peak_bytes() < before + BLOCK_BYTES // 2
