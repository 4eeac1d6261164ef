"""Ctrl-C, and the signal by which schedulers end a job: says at once what is kept, then ends."""

import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SHOW_CURSOR = "\x1b[?25h"


class _ToldToEnd(BaseException):
    """SIGTERM has come. No `SystemExit`: that is how a worker says that it wants to be replaced."""


@contextmanager
def interruptible(kept: Callable[[], str]) -> Iterator[Callable[[], None]]:
    """Answer a signal within the block by a line on stderr; a second one ends the process.

    The line comes from a thread, since the main thread may be inside a long call of PyTorch or Ray
    and hears of signals only afterwards. It is left by `KeyboardInterrupt`, or by `SystemExit`
    with the usual exit status after SIGTERM.

    Args:
        kept: returns what is kept, in words.

    Yields:
        A function that answers SIGTERM again, after Ray has put its own handler there: that one
        prints addresses of Ray's C++ code.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    ours, heard = socket.socketpair()
    heard.setblocking(False)
    before_fd = signal.set_wakeup_fd(heard.fileno(), warn_on_full_buffer=False)
    before = signal.getsignal(signal.SIGTERM) or signal.SIG_DFL
    _answer_sigterm()
    thread = threading.Thread(target=_listen, args=(ours, kept), name="signals", daemon=True)
    thread.start()
    try:
        yield _answer_sigterm
    except _ToldToEnd:
        raise SystemExit(128 + signal.SIGTERM) from None
    except SystemError as error:  # what Ray's library makes of it within its calls
        if not isinstance(error.__cause__, _ToldToEnd):
            raise
        raise SystemExit(128 + signal.SIGTERM) from None
    finally:
        signal.signal(signal.SIGTERM, before)
        signal.set_wakeup_fd(before_fd)
        heard.close()  # which ends the thread
        thread.join()
        ours.close()


def _listen(ours: socket.socket, kept: Callable[[], str]) -> None:
    is_ending = False
    while heard := ours.recv(1):
        number = heard[0]
        if number not in (signal.SIGINT, signal.SIGTERM):
            continue
        if is_ending:
            _say("ended at once")
            os._exit(128 + number)
        is_ending = True
        what = "interrupted" if number == signal.SIGINT else "told to end"
        again = "; Ctrl-C again ends at once" if number == signal.SIGINT else ""
        _say(f"{what}; {kept()}; repeat the command to go on{again}")


def _say(line: str) -> None:
    if sys.stderr is None:
        return
    try:
        # A bar may be there: it hides the cursor, and stands on a line without an end.
        start, end = ("\r\n", SHOW_CURSOR) if sys.stderr.isatty() else ("", "")
        os.write(sys.stderr.fileno(), f"{start}encodeonce: {line}\n{end}".encode())
    except (OSError, ValueError):
        pass


def _answer_sigterm() -> None:
    signal.signal(signal.SIGTERM, _leave)


def _leave(number: int, frame: FrameType | None) -> None:
    raise _ToldToEnd
