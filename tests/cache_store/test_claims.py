"""Claims: one of several workers encodes a unit."""

import os
import time
from pathlib import Path

import pytest

from encodeonce.cache_store.claims import Claims
from encodeonce.cache_store.store import StoreError
from tests.cache_store.stores import entry_of, exit_code, fork


def test_only_the_first_gets_a_unit_until_it_is_given_back(tmp_path: Path) -> None:
    keys = entry_of(0, num_units=3).keys
    with Claims(tmp_path) as first, Claims(tmp_path) as second:
        assert first.acquire(keys[:2]) == list(keys[:2])
        assert second.acquire(keys) == [keys[2]]
        first.release(keys[:1])
        assert second.acquire(keys) == [keys[0]]
    with Claims(tmp_path) as third:
        assert third.acquire(keys) == list(keys)


def test_the_claim_of_a_dead_worker_is_taken_over_after_it_expires(tmp_path: Path) -> None:
    keys = entry_of(0).keys

    def die_holding() -> None:
        Claims(tmp_path).acquire(keys)
        os._exit(9)

    assert exit_code(fork(die_holding)) == 9
    with Claims(tmp_path, expires_s=0.4) as heir:
        assert heir.acquire(keys) == []
        time.sleep(0.5)
        assert heir.acquire(keys) == list(keys)


def test_the_claim_of_a_living_worker_does_not_expire(tmp_path: Path) -> None:
    keys = entry_of(0).keys
    with Claims(tmp_path, expires_s=0.4) as slow, Claims(tmp_path, expires_s=0.4) as other:
        slow.acquire(keys)
        time.sleep(1.0)
        assert other.acquire(keys) == []


def test_of_many_heirs_one_gets_the_claim(tmp_path: Path) -> None:
    keys = entry_of(0).keys[:1]
    Claims(tmp_path).acquire(keys)
    (claim,) = (path for path in tmp_path.rglob("claims/*/*"))
    os.utime(claim, (0, 0))

    def inherit() -> None:
        os._exit(len(Claims(tmp_path).acquire(keys)))

    assert sum(exit_code(pid) for pid in [fork(inherit) for _ in range(8)]) == 1


def test_a_host_whose_clock_is_wrong_takes_nothing_from_the_living(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = entry_of(0).keys
    real_s = time.time
    with Claims(tmp_path) as owner, Claims(tmp_path) as skewed:
        owner.acquire(keys)
        monkeypatch.setattr(time, "time", lambda: real_s() + 86_400)
        assert skewed.acquire(keys) == []


def test_claims_that_cannot_be_written_are_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "ns").write_text("not a folder")
    with pytest.raises(StoreError, match="claiming"):
        Claims(tmp_path).acquire(entry_of(0).keys)
