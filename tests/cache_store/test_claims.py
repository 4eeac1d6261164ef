"""Claims: one of several workers encodes a unit."""

import os
import time
from pathlib import Path

import pytest

from encodeonce.cache_store.claims import Claims
from encodeonce.cache_store.store import StoreError
from tests.cache_store.stores import entry_of, exit_code, fork


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


def test_the_claim_of_a_dead_worker_is_taken_over_after_it_expires(tmp_path: Path) -> None:
    key = entry_of(0).keys[0]

    def die_holding() -> None:
        Claims(tmp_path).acquire(key)
        os._exit(9)

    assert exit_code(fork(die_holding)) == 9
    with Claims(tmp_path, expires_s=0.4) as heir:
        assert not heir.acquire(key)
        time.sleep(0.5)
        assert heir.acquire(key)


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
        os._exit(Claims(tmp_path).acquire(key))

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
