"""Quietens libraries that talk while they are imported."""

import logging

_TALKATIVE = ("torchao", "torch.utils._pytree")
"""transformers imports torchao wherever it is installed. These loggers then warn about kernels for
absent GPUs, and about how torchao registers its own enumerations."""


def quieten_imports() -> None:
    """Let the loggers that talk during imports report errors alone."""
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.ERROR)
