"""One thread: bits are compared between a video encoded whole and unit by unit.

With several threads the kernels split their work by shape, and the two round differently. That is
why encodeonce always encodes in one fixed shape, which plain transformers does not.
"""

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
