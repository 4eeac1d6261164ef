"""Quietens libraries that talk while they are imported."""

import logging

_TALKATIVE = ("torchao", "torch.utils._pytree", "bitsandbytes.backends.cpu.ops")
"""transformers imports torchao wherever it is installed, and peft bitsandbytes. These loggers then
warn about kernels for absent GPUs, about how torchao registers its own enumerations, and about a
package of kernels for processors with bfloat16."""


def quieten_imports() -> None:
    """Let the loggers that talk during imports report errors alone."""
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.ERROR)
