"""The machine and the software that something was measured on."""

import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch


def hardware() -> dict[str, Any]:
    """Return what a figure has to be read with, as plain JSON values."""
    found: dict[str, Any] = {
        "device": _processor(),
        "processor": _processor(),
        "num_cpus": os.cpu_count(),
        "num_threads": torch.get_num_threads(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": version("transformers"),
    }
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        found |= {
            "device": properties.name,
            "device_bytes": properties.total_memory,
            "cuda": torch.version.cuda,
        }
    return found


def _processor() -> str:
    """Return the processor's name as Linux has it, or what there is elsewhere."""
    described = Path("/proc/cpuinfo")
    if described.exists():
        for line in described.read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()
