"""Memory: what a loaded model holds, what loading it took, and the most that was in use."""

import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import nn

from encodeonce.models.answer import LoadedWeights
from encodeonce.models.checkpoint.decoder_layers import decoder_layers
from encodeonce.models.timing import synchronize

_COUNTER, _STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


class LoadingMeasure:
    """Times the loading of a model and notes its peak of memory, from when it is made."""

    def __init__(self) -> None:
        reset_peak()
        synchronize()
        self._start = time.perf_counter()

    def take(self, model: Any, projector: nn.Module | None) -> LoadedWeights:
        """Return what was measured, and what a model and its projector hold."""
        counted: set[int] = set()
        parts = {
            "layers": decoder_layers(model),
            "embeddings": model.get_input_embeddings(),
            "head": model.get_output_embeddings(),
            "projector": projector,
            "other": model,
        }
        return self.taken(
            {name: 0 if part is None else held_bytes(part, counted) for name, part in parts.items()}
        )

    def taken(self, bytes_by_part: Mapping[str, int]) -> LoadedWeights:
        """Return what was measured, and what a model holds."""
        synchronize()
        load_s = time.perf_counter() - self._start
        return LoadedWeights(bytes_by_part=bytes_by_part, load_s=load_s, peak_bytes=peak())


def reset_peak() -> None:
    """Start counting the most memory in use from here, where the system can."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    elif _COUNTER.exists():
        with suppress(OSError):  # some containers have the file and refuse to write it
            _COUNTER.write_text("5")


def peak() -> int | None:
    """Return the most memory in use since `reset_peak`: of the GPU, or of this process, bytes.

    None where the system does not say.
    """
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    if not _STATUS.exists():
        return None
    lines = dict(line.split(":", 1) for line in _STATUS.read_text().splitlines() if ":" in line)
    return int(lines["VmHWM"].split()[0]) * 1024 if "VmHWM" in lines else None


def held_bytes(module: nn.Module, counted: set[int]) -> int:
    """Return the bytes of all tensors that a module holds.

    They include what quantisers keep beside the weights: scales in attributes of parameters, and
    the parts of tensor subclasses.

    Args:
        module: any.
        counted: addresses of memory that was counted already; grows.
    """
    total = 0
    for part in module.modules():
        members = [*part._parameters.values(), *part._buffers.values(), part.__dict__]
        for tensor in _plain_tensors(members, set()):
            # Of the tensor, not of its storage, which may be the whole file.
            if tensor.nbytes and tensor.data_ptr() not in counted:
                counted.add(tensor.data_ptr())
                total += tensor.nbytes
    return total


def _plain_tensors(value: Any, seen: set[int]) -> Iterator[torch.Tensor]:
    """Yield the tensors that can be reached from a value, except those of other modules."""
    if id(value) in seen or isinstance(value, nn.Module | type):
        return
    seen.add(id(value))
    inside: list[Any] = []
    if hasattr(value, "__tensor_flatten__"):
        names, _ = value.__tensor_flatten__()
        inside = [getattr(value, name) for name in names]
    elif isinstance(value, dict):
        inside = [item for key, item in value.items() if not str(key).startswith("_")]
    elif isinstance(value, list | tuple):
        inside = list(value)
    else:
        if isinstance(value, torch.Tensor):
            yield value
        inside = list(getattr(value, "__dict__", {}).values())
    for item in inside:
        yield from _plain_tensors(item, seen)
