"""How much memory keys and values may take while their rows wait to be decoded together."""

import psutil
import torch

CPU_SHARE = 0.25
"""Of what is available: other workers, and the page cache, want some too."""
GPU_SHARE = 0.6
"""Of what is free: activations want some too."""


def cache_bytes(device: torch.device, asked_gib: float | None) -> int:
    """Return how many bytes of keys and values may wait.

    Args:
        device: where they are.
        asked_gib: what the user allows, in GiB; None for what the device has.
    """
    if asked_gib is not None:
        return int(asked_gib * 2**30)
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        reserved = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(GPU_SHARE * (free + reserved))
    return int(CPU_SHARE * psutil.virtual_memory().available)
