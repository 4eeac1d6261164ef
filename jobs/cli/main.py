"""The entry point of the ``encodeonce`` command."""

import importlib
import logging
import signal
import sys

_TALKATIVE = ("torchao", "torch.utils._pytree")
"""transformers imports torchao wherever it is installed. These loggers then warn about kernels for
absent GPUs, and about how torchao registers its own enumerations."""


def main() -> None:
    """Run the command line; Ctrl-C while its libraries are read, which takes seconds, ends it."""
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        importlib.import_module("encodeonce.jobs.cli.app").main()
    except KeyboardInterrupt:
        if sys.stderr is not None:
            sys.stderr.write("encodeonce: interrupted before any work\n")
        sys.exit(128 + signal.SIGINT)


if __name__ == "__main__":
    main()
