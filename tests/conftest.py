"""What processes of pytest-xdist have otherwise than a user's: they, and all that they start."""

import gc
import os
import signal

import pytest

try:
    from hypothesis import settings
except ImportError:  # environments of other harnesses, and GPU machines, do without
    pass
else:
    # Machines are shared: a call that takes long once is no failure.
    settings.register_profile("shared machine", deadline=None)
    settings.load_profile("shared machine")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Return how many processes `make test` takes: tests of Ray wait as long as they work."""
    return (os.cpu_count() or 1) + 1


# Ray's workers give way to all others (nice 15), which beside tests on all cores is to stand still.
os.environ.setdefault("RAY_worker_niceness", "0")


def pytest_collection_finish() -> None:
    """Leave what thousands of tests and all libraries consist of out of every garbage collection.

    A run collects garbage when it lets go of a model, which here would take seconds each time.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def as_a_user_has_it() -> None:
    """Let nobody say how wide a terminal is that is none."""
    os.environ.pop("COLUMNS", None)


@pytest.fixture(autouse=True)
def interrupt_key() -> None:
    """Let the interrupt key work: a shell's background job ignores it, asyncio's loops keep it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
