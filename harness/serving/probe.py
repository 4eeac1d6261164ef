"""What a machine says of itself while it serves: `pip install "encodeonce[monitor]"`."""

import importlib
from collections.abc import Mapping
from typing import Any

import torch

from encodeonce.harness.serving.monitor import Probe


def machine_probe(device: torch.device) -> Probe | None:
    """Return a probe of this process and its device; None without psutil.

    Columns: ``cpu_percent`` and ``rss_bytes`` of the process; on a GPU ``torch_allocated_bytes``
    and, with nvidia-ml-py, ``gpu_util`` (percent) and ``gpu_mem_bytes``.

    Args:
        device: the model's. A GPU is found by its UUID: numbers depend on what is visible.
    """
    psutil = _optional("psutil")
    if psutil is None:
        return None
    process = psutil.Process()
    process.cpu_percent()  # the first call has nothing to compare with
    gpu = _gpu(device)

    def probe() -> Mapping[str, float]:
        found = {
            "cpu_percent": float(process.cpu_percent()),
            "rss_bytes": float(process.memory_info().rss),
        }
        if device.type == "cuda":
            found["torch_allocated_bytes"] = float(torch.cuda.memory_allocated(device))
        if gpu is not None:
            nvml, handle = gpu
            found["gpu_util"] = float(nvml.nvmlDeviceGetUtilizationRates(handle).gpu)
            found["gpu_mem_bytes"] = float(nvml.nvmlDeviceGetMemoryInfo(handle).used)
        return found

    return probe


def _gpu(device: torch.device) -> tuple[Any, Any] | None:
    nvml = _optional("pynvml") if device.type == "cuda" else None
    if nvml is None:
        return None
    nvml.nvmlInit()
    uuid = f"GPU-{torch.cuda.get_device_properties(device).uuid}"
    return nvml, nvml.nvmlDeviceGetHandleByUUID(uuid)


def _optional(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None
