"""Counts the operations that a pass dispatches, which is what small models spend their time on."""

from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

_FREE = {"view", "_unsafe_view", "t", "transpose", "expand", "select", "slice", "detach", "alias"}
_FREE |= {"unsqueeze", "squeeze", "permute", "as_strided", "unbind", "split", "reshape"}
"""Operations that touch no numbers."""


class _Counting(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts what is dispatched inside the block."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = func.overloadpacket.__name__
        self.count += name not in _FREE
        return func(*args, **(kwargs or {}))


def count_operations(work: Callable[[], object]) -> int:
    """Return how many operations some work dispatches, views aside."""
    counting = _Counting()
    with torch.inference_mode(), counting:
        work()
    return counting.count
