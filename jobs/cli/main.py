"""The entry point of the ``encodeonce`` command."""

import importlib
import signal
import sys

from encodeonce.jobs.quiet import quieten_imports


def main() -> None:
    """Run the command line; Ctrl-C while its libraries are read, which takes a while, ends it."""
    quieten_imports()
    try:
        importlib.import_module("encodeonce.jobs.cli.app").main()
    except KeyboardInterrupt:
        if sys.stderr is not None:
            sys.stderr.write("encodeonce: interrupted before any work\n")
        sys.exit(128 + signal.SIGINT)


if __name__ == "__main__":
    main()
