"""The most memory that this process has held."""

import contextlib
import resource
import sys
from pathlib import Path

import torch


def peak_bytes() -> int:
    """Return the peak: of GPU memory allocated, or of resident memory on a CPU."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    unit = 1 if sys.platform == "darwin" else 1024  # getrusage counts KiB, except on macOS
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def reset_peak() -> None:
    """Begin again from what is held now, where the system can: on GPUs and on Linux."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        return
    # proc_pid_clear_refs(5): 5 resets the peak resident set size to the current one.
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
