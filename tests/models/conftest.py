"""One thread: tiny models are no faster with more.

With several, kernels split their work by shape as well, which is one more reason why batches of
different shapes round differently (`tests.contracts.logits`).
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
