"""Lets other programs' ``import torchvision`` succeed beside a CPU build of torch.

PyPI's torchvision for Linux is linked to CUDA. Beside a CPU build of torch its operators do not
load, and then the module fails to register fakes for them. VLMEvalKit and vLLM need no operator of
it for what the tests do, so it is enough that the two exist by name. Python imports this file when
it starts with this folder on PYTHONPATH, which only the tests' processes do.
"""

import torch

try:
    import torchvision  # noqa: F401
except RuntimeError:
    # Lives as long as the process: what a Library defines goes when it goes.
    torch.torchvision_by_name = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        torch.torchvision_by_name.define(
            f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        )
except ImportError:
    pass
