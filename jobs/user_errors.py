"""What the user can mend is said in one message, without a traceback."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console

from encodeonce.cache_store.store import StoreError


@contextmanager
def user_errors() -> Iterator[None]:
    """Print an error in red and exit with 1.

    ValueError: every refusal of ours derives from it (configuration, media, checkpoint).
    """
    try:
        yield
    except (ValueError, StoreError) as error:
        message = f"encodeonce: {error}"
        Console(stderr=True).print(message, style="red", highlight=False, markup=False)
        sys.exit(1)
