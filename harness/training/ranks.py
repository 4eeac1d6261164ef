"""The processes that train together, each with a device of its own.

They are started by torchrun or ``accelerate launch``, which say so in the environment, or by Ray
Train, which sets torch.distributed up itself. Only gradients are exchanged: the models are whole
everywhere, and what is trained is small.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

import torch
from torch import distributed, nn

Value = TypeVar("Value")

TIMEOUT = timedelta(hours=2)
"""How long others wait for the first process to validate."""


class Ranks:
    """A process among those that train together; alone, it has nothing to exchange."""

    def __init__(self) -> None:
        """Look at torch.distributed, which has been set up if there are others."""
        is_joint = distributed.is_available() and distributed.is_initialized()
        self.rank = distributed.get_rank() if is_joint else 0
        self.world = distributed.get_world_size() if is_joint else 1

    @property
    def is_first(self) -> bool:
        """Whether this process validates, writes and speaks."""
        return self.rank == 0

    def mine(self, count: int) -> range:
        """Return this process's share of a step's lessons."""
        return range(self.rank, count, self.world)

    def add_up(self, tensors: Sequence[torch.Tensor]) -> None:
        """Replace tensors by their sums over all processes, in place, in one exchange."""
        if self.world == 1:
            return
        flat = nn.utils.parameters_to_vector(list(tensors))
        distributed.all_reduce(flat)
        nn.utils.vector_to_parameters(flat, list(tensors))

    def agree(self, value: Value) -> Value:
        """Return the first process's value; all wait for it."""
        if self.world == 1:
            return value
        said = [value]
        distributed.broadcast_object_list(said, src=0)
        return said[0]


@contextmanager
def joined() -> Iterator[Ranks]:
    """Join the other processes that the environment names, if it names any; yield the ranks."""
    is_launched = "RANK" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1
    if not is_launched or distributed.is_initialized():
        yield Ranks()
        return
    backend = "gloo"
    if torch.cuda.is_available():
        backend = "nccl"
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    distributed.init_process_group(backend, timeout=TIMEOUT)
    try:
        yield Ranks()
    finally:
        distributed.destroy_process_group()
