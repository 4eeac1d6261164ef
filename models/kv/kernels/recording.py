"""Recorded steps: CUDA graphs (NVIDIA's name), which are launched at once instead of op by op.

A recording repeats the same operations on the same addresses. What differs between steps has to
stand in tensors, and what counts steps has to count on the device.
"""

from collections.abc import Callable
from typing import Protocol

import torch

Step = Callable[[], torch.Tensor]


class Recording(Protocol):
    """A step that can be repeated."""

    def replay(self) -> torch.Tensor:
        """Repeat it; return the tensor that its result is written to every time."""
        ...


class Recorder(Protocol):
    """Runs steps, and records them."""

    def run(self, step: Step) -> torch.Tensor:
        """Run a step where it would be recorded, and return its result."""
        ...

    def record(self, step: Step) -> Recording:
        """Record a step like one that has just been run. It is not computed before `replay`."""
        ...


class CUDARecorder:
    """Records CUDA graphs. They share memory: the last one is the one to replay."""

    def __init__(self, device: torch.device) -> None:
        """Make a stream to record on, which steps are run on as well."""
        self._stream = torch.cuda.Stream(device)
        self._pool = torch.cuda.graph_pool_handle()

    def run(self, step: Step) -> torch.Tensor:
        """Run a step. Whatever is made at first use, such as workspaces, is made here."""
        current = torch.cuda.current_stream(self._stream.device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            result = step()
        current.wait_stream(self._stream)
        return result

    def record(self, step: Step) -> Recording:
        """Record a step.

        Raises:
            RuntimeError: something in it cannot be recorded.
        """
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, pool=self._pool, stream=self._stream):
                result = step()
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            raise RuntimeError(
                "this model's decode step cannot be recorded as a CUDA graph; write "
                f"generation.cuda_graphs: false. {error}"
            ) from error
        return _CUDARecording(graph, result)


class _CUDARecording:
    def __init__(self, graph: torch.cuda.CUDAGraph, result: torch.Tensor) -> None:
        self._graph, self._result = graph, result

    def replay(self) -> torch.Tensor:
        self._graph.replay()
        return self._result


def recorder_for(device: torch.device, *, is_wanted: bool) -> Recorder | None:
    """Return what records steps on a device, if that is wanted and possible."""
    return CUDARecorder(device) if is_wanted and device.type == "cuda" else None
