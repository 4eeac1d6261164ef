"""Ctrl-C and SIGTERM: one line at once, then the end; twice: the end at once."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from encodeonce.jobs.interrupts import interruptible

ROOT = Path(__file__).parents[2]
KEPT = "3 of 108 answers are kept"
BUSY = f"""
import hashlib, os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from encodeonce.jobs.interrupts import interruptible
with interruptible(lambda: "{KEPT}"):
    print("ready", flush=True)
    # One call in C, which takes minutes and hears of no signal before it returns.
    hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)
"""


def test_an_interrupt_is_answered_by_what_is_kept(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyboardInterrupt), interruptible(lambda: KEPT):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(10)
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith(f"encodeonce: interrupted; {KEPT}; repeat the command to go on")


def test_a_schedulers_signal_too_and_the_exit_status_says_so(
    capfd: pytest.CaptureFixture[str],
) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as ended, interruptible(lambda: KEPT):
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(10)
        except SystemExit:
            pytest.fail("a worker's wish to be replaced")
    assert ended.value.code == 143
    assert f"told to end; {KEPT}" in capfd.readouterr().err
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_schedulers_signal_within_a_call_of_ray_is_no_error_of_the_system(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended, interruptible(lambda: KEPT):
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(10)
        except BaseException as error:
            raise SystemError("returned a result with an exception set") from error
    assert ended.value.code == 143
    with pytest.raises(SystemError, match="another"), interruptible(lambda: KEPT):
        raise SystemError("another")


def test_after_the_block_signals_are_as_before(capfd: pytest.CaptureFixture[str]) -> None:
    with interruptible(lambda: KEPT):
        pass
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(10)
    assert not capfd.readouterr().err
    assert signal.set_wakeup_fd(-1) == -1


def test_a_busy_process_answers_within_a_second_and_the_second_interrupt_ends_it() -> None:
    driver = subprocess.Popen(
        [sys.executable, "-c", BUSY],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert driver.stdout is not None
    assert driver.stderr is not None
    assert driver.stdout.readline() == "ready\n"
    time.sleep(0.5)  # for it to enter the call
    start_s = time.monotonic()
    driver.send_signal(signal.SIGINT)
    assert KEPT in driver.stderr.readline()
    assert time.monotonic() - start_s < 1
    assert driver.poll() is None
    driver.send_signal(signal.SIGINT)
    assert driver.wait(5) == 130
    assert driver.stderr.read() == "encodeonce: ended at once\n"
    driver.stdout.close()
    driver.stderr.close()
