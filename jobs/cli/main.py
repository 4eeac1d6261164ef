"""The entry point of the ``encodeonce`` command."""

import importlib
import logging

_TALKATIVE = ("torchao", "torch.utils._pytree")
"""transformers imports torchao wherever it is installed. These loggers then warn about kernels for
absent GPUs, and about how torchao registers its own enumerations."""


def main() -> None:
    """Run the command line."""
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.ERROR)
    importlib.import_module("encodeonce.jobs.cli.app").main()


if __name__ == "__main__":
    main()
