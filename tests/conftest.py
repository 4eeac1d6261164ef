"""What processes of pytest-xdist have otherwise than a user's: they, and all that they start."""

import os
import signal

import pytest


@pytest.fixture(scope="session", autouse=True)
def as_a_user_has_it() -> None:
    """Let the interrupt key work, and let nobody say how wide a terminal is that is none."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.pop("COLUMNS", None)
