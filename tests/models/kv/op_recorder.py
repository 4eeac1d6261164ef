"""A stand-in for CUDA graphs on a processor: notes operations, and repeats them as a graph does.

Like a graph, a recording repeats the same operations with the same Python numbers, on the same
memory, and writes results to where they were when it was recorded; and nothing has been computed
once it is recorded. So whatever a step takes from the host that differs between steps (a length, a
position, a tensor made anew) gives wrong answers here too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from encodeonce.models.kv.kernels.recording import Step


@dataclass(slots=True, kw_only=True)
class Op:
    """An operation, with the tensors that it was given and those that it gave."""

    function: Any
    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    result: Any

    def repeat(self) -> None:
        """Compute it again, and put what comes out where it was."""
        results = _tensors(self.result)
        if not self.function._schema.is_mutable and _addresses(results) & _addresses(
            _tensors((self.args, self.kwargs))
        ):
            return  # a view of memory that others write to
        again = self.function(*self.args, **self.kwargs)
        if not self.function._schema.is_mutable:
            for mine, new in zip(results, _tensors(again), strict=True):
                mine.copy_(new)


@dataclass(slots=True)
class OpRecording:
    """A recorded step."""

    ops: Sequence[Op]
    result: torch.Tensor
    num_replays: int = 0

    def replay(self) -> torch.Tensor:
        """Repeat all operations in their order."""
        self.num_replays += 1
        for op in self.ops:
            op.repeat()
        return self.result.clone()  # from a GPU, results are copied before the next step


@dataclass(slots=True)
class OpRecorder:
    """Records operations."""

    recordings: list[OpRecording] = field(default_factory=list)

    def run(self, step: Step) -> torch.Tensor:
        """Run a step."""
        return step()

    def record(self, step: Step) -> OpRecording:
        """Note a step's operations, and undo what they have done."""
        with _Noting() as noting:
            result = step()
        noting.undo()
        self.recordings.append(OpRecording(noting.ops, result))
        return self.recordings[-1]


class _Noting(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.ops: list[Op] = []
        self._before: list[tuple[torch.Tensor, torch.Tensor]] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        for argument, value in zip(func._schema.arguments, args, strict=False):
            if argument.alias_info is not None and argument.alias_info.is_write:
                self._before.append((value, value.clone()))
        result = func(*args, **kwargs)
        self.ops.append(Op(function=func, args=args, kwargs=kwargs, result=result))
        return result

    def undo(self) -> None:
        for tensor, before in reversed(self._before):
            tensor.copy_(before)


def _tensors(values: Any) -> list[torch.Tensor]:
    return [value for value in tree_leaves(values) if isinstance(value, torch.Tensor)]


def _addresses(tensors: Sequence[torch.Tensor]) -> set[int]:
    return {tensor.untyped_storage().data_ptr() for tensor in tensors}
