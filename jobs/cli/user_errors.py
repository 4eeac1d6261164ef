"""Shows errors that the user can fix as one message, without a traceback."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from encodeonce.cache_store.store import StoreError
from encodeonce.datasets.refusal_words import told
from encodeonce.harness.report.plain_console import PlainConsole
from encodeonce.jobs.execution.executor import WorkerStartError


@contextmanager
def user_errors(*more: type[Exception]) -> Iterator[None]:
    """Print an error that the user can fix as one message, and exit with 1.

    Args:
        *more: exceptions that the user can fix here, in addition to the usual ones.
    """
    # ValueError: base of all our refusals (configuration, media, checkpoint).
    expected: tuple[type[Exception], ...] = (ValueError, StoreError, WorkerStartError, *more)
    try:
        yield
    except expected as error:
        stop(told(error))


def stop(message: str) -> NoReturn:
    """Print a message and exit with 1."""
    PlainConsole(stderr=True).print(f"encodeonce: {message}", style="red")
    sys.exit(1)
