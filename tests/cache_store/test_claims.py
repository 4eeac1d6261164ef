"""Claims: one of several workers encodes a unit."""

import errno
import json
import os
import signal
import socket
import sys
import time
from pathlib import Path

import pytest

from encodeonce.cache_store.claims import Claims
from encodeonce.cache_store.store import StoreError
from tests.cache_store.stores import entry_of, exit_code, fork

needs_proc = pytest.mark.skipif(sys.platform != "linux", reason="looks processes up in /proc")


def test_only_the_first_gets_a_media_until_it_is_given_back(tmp_path: Path) -> None:
    key, other = entry_of(0).keys[0], entry_of(1).keys[0]
    with Claims(tmp_path) as first, Claims(tmp_path) as second:
        assert first.acquire(key)
        assert not second.acquire(key._replace(unit="another"))
        assert second.acquire(other)
        assert second.acquire(key._replace(signature="0" * 64))
        second.release(key)  # not its own
        assert not second.acquire(key)
        first.release(key)
        assert second.acquire(key)
    with Claims(tmp_path) as third:
        assert third.acquire(key)


def die_holding(folder: Path) -> None:
    """Leave a claim of a process that is gone."""

    def claim() -> None:
        assert Claims(folder).acquire(entry_of(0).keys[0])
        os._exit(9)

    assert exit_code(fork(claim)) == 9


@needs_proc
def test_the_claim_of_a_worker_that_died_on_this_host_is_taken_over_at_once(tmp_path: Path) -> None:
    die_holding(tmp_path)
    with Claims(tmp_path, expires_s=3600) as heir:
        assert heir.acquire(entry_of(0).keys[0])


@needs_proc
def test_a_killed_worker_that_nobody_has_waited_for_is_gone_too(tmp_path: Path) -> None:
    key, ready = entry_of(0).keys[0], tmp_path / "ready"

    def hold() -> None:
        Claims(tmp_path).acquire(key)
        ready.touch()
        time.sleep(60)

    pid = fork(hold)
    while not ready.exists():
        time.sleep(0.01)
    with Claims(tmp_path, expires_s=3600) as heir:
        assert not heir.acquire(key)
        found = heir.others(key)
        assert found is not None
        assert str(found.holder) == f"process {pid} on {socket.gethostname()}"
        assert 3590 < found.left_s <= 3600
        os.kill(pid, signal.SIGKILL)
        deadline_s = time.monotonic() + 10
        while not heir.acquire(key):
            assert time.monotonic() < deadline_s
            time.sleep(0.01)
    assert exit_code(pid) == -signal.SIGKILL


UNKNOWN = {
    "another host, or a boot before": {"boot": "00000000-0000-0000-0000-000000000000"},
    "another container": {"namespace": "pid:[1]"},
    "no /proc there": {"boot": "", "namespace": "", "started": 0},
    "an earlier version": None,
    "torn": "",
    "rubbish": {"pid": -1, "owner": 3},
    "a pid that no system has": {"pid": 10**30},
    "nested": "[" * 100_000,
}


@pytest.mark.parametrize("change", UNKNOWN.values(), ids=UNKNOWN)
def test_a_holder_that_cannot_be_seen_from_here_is_given_the_whole_time(
    tmp_path: Path, change: dict[str, object] | str | None
) -> None:
    die_holding(tmp_path)
    (claim,) = tmp_path.rglob("claims/*/*")
    if isinstance(change, dict):
        claim.write_text(json.dumps({**json.loads(claim.read_text()), **change}))
    else:
        claim.write_text("d" * 32 if change is None else change)
    with Claims(tmp_path, expires_s=0.4) as heir:
        key = entry_of(0).keys[0]
        assert not heir.acquire(key)
        assert heir.others(key) is not None
        time.sleep(0.5)
        assert heir.acquire(key)


@needs_proc
def test_a_pid_that_is_used_again_is_not_its_first_holder(tmp_path: Path) -> None:
    key = entry_of(0).keys[0]
    with Claims(tmp_path) as owner, Claims(tmp_path, expires_s=3600) as heir:
        owner.acquire(key)
        (claim,) = tmp_path.rglob("claims/*/*")
        said = json.loads(claim.read_text())
        assert not heir.acquire(key)
        claim.write_text(json.dumps({**said, "started": said["started"] - 1}))
        assert heir.acquire(key)


def test_an_heir_that_comes_late_gives_the_claim_back_to_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both find the dead one's claim; the first has taken it when the second moves it away."""
    key = entry_of(0).keys[0]
    die_holding(tmp_path)
    (claim,) = tmp_path.rglob("claims/*/*")
    os.utime(claim, (0, 0))
    with Claims(tmp_path) as first, Claims(tmp_path) as second:
        seen = second.others(key)
        assert first.acquire(key)
        with monkeypatch.context() as patch:
            patch.setattr(second, "_read", lambda path: seen)
            assert not second.acquire(key)
        assert not second.acquire(key)
        found = second.others(key)
        assert found is not None
        assert found.holder.pid == os.getpid()
        assert [path for path in claim.parent.iterdir() if path.is_file()] == [claim]


def test_a_claim_that_could_not_be_written_is_nobodys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    key = entry_of(0).keys[0]
    with Claims(tmp_path) as claims:
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", full)
            with pytest.raises(StoreError, match="full"):
                claims.acquire(key)
        assert claims.acquire(key)


def test_the_claim_of_a_living_worker_does_not_expire(tmp_path: Path) -> None:
    key = entry_of(0).keys[0]
    with Claims(tmp_path, expires_s=0.8) as slow, Claims(tmp_path, expires_s=0.8) as other:
        slow.acquire(key)
        time.sleep(2.0)
        assert not other.acquire(key)


def test_of_many_heirs_one_gets_the_claim(tmp_path: Path) -> None:
    key = entry_of(0).keys[0]
    Claims(tmp_path).acquire(key)
    (claim,) = tmp_path.rglob("claims/*/*")
    os.utime(claim, (0, 0))

    def inherit() -> None:
        is_mine = Claims(tmp_path).acquire(key)
        (tmp_path / f"{os.getpid()}.tried").touch()
        while len(list(tmp_path.glob("*.tried"))) < 8:  # one that ended would be inherited from
            time.sleep(0.01)
        os._exit(is_mine)

    assert sum(exit_code(pid) for pid in [fork(inherit) for _ in range(8)]) == 1


def test_a_host_whose_clock_is_wrong_takes_nothing_from_the_living(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = entry_of(0).keys[0]
    real_s = time.time
    with Claims(tmp_path) as owner, Claims(tmp_path) as skewed:
        owner.acquire(key)
        monkeypatch.setattr(time, "time", lambda: real_s() + 86_400)
        assert not skewed.acquire(key)


def test_claims_that_cannot_be_written_are_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "ns").write_text("not a folder")
    with pytest.raises(StoreError, match="claiming"):
        Claims(tmp_path).acquire(entry_of(0).keys[0])
