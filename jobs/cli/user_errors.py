"""Shows errors that the user can fix as one message, without a traceback."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from encodeonce.cache_store.durable import FULL
from encodeonce.cache_store.store import StoreError
from encodeonce.datasets.refusal_words import told
from encodeonce.harness.report.plain_console import PlainConsole, give_up_stdout
from encodeonce.jobs.execution.executor import WorkerStartError, WorkStopped


@contextmanager
def user_errors(*more: type[Exception]) -> Iterator[None]:
    """Print an error that the user can fix as one message, and exit with 1.

    Args:
        *more: exceptions that the user can fix here, in addition to the usual ones.
    """
    # ValueError: base of all our refusals (configuration, media, checkpoint).
    expected: tuple[type[Exception], ...] = (
        ValueError,
        StoreError,
        WorkerStartError,
        WorkStopped,
        *more,
    )
    try:
        yield
    except OSError as error:
        stop(in_words(error))
    except expected as error:
        stop(told(error))


def in_words(error: OSError) -> str:
    """Return what the system refuses, and of which file, without Python's number."""
    what = f"{error.filename}: " if error.filename is not None else ""
    remedy = ". Free space, and repeat the command" if error.errno in FULL else ""
    return f"{what}{error.strerror or error}{remedy}"


def stop(message: str) -> NoReturn:
    """Print a message and exit with 1."""
    PlainConsole(stderr=True).print(f"encodeonce: {message}", style="red")
    give_up_stdout()
    sys.exit(1)
