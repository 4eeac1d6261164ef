"""Turn stored arrays into tensors and back, bit for bit: numpy has no bfloat16 that torch takes."""

from typing import Any

import ml_dtypes
import numpy as np
import torch

_BFLOAT16 = np.dtype(ml_dtypes.bfloat16)


def to_array(tensor: torch.Tensor) -> np.ndarray[Any, np.dtype[Any]]:
    """Return ``tensor`` as a contiguous array of the same shape, dtype and bits."""
    tensor = tensor.detach().cpu().contiguous()
    if tensor.dtype == torch.bfloat16:
        return np.asarray(tensor.view(torch.uint16).numpy()).view(_BFLOAT16)
    return np.asarray(tensor.numpy())


def to_tensor(array: np.ndarray[Any, np.dtype[Any]], device: torch.device) -> torch.Tensor:
    """Return ``array`` as a tensor on ``device`` of the same shape, dtype and bits."""
    if not array.flags.writeable:  # torch cannot share read-only memory
        array = array.copy()
    if array.dtype == _BFLOAT16:
        return torch.from_numpy(array.view(np.uint16)).view(torch.bfloat16).to(device)
    return torch.from_numpy(array).to(device)
