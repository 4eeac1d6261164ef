"""Helpers of the store's tests: content derived from its key, and damage."""

import hashlib
import os
import random
import shutil
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

import ml_dtypes
import numpy as np

from encodeonce.cache_store.features import Features
from encodeonce.cache_store.hdf5 import Hdf5Store
from encodeonce.cache_store.signature import FeatureKey
from encodeonce.cache_store.store import Entry
from tests.contracts.store import a_signature, assert_same_bits

SOAK = bool(os.environ.get("ENCODEONCE_SOAK"))
"""Run the long versions: hundreds of kills, thousands of bit flips."""


def media_of(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def content_of(media: str, units: Sequence[str], tail: tuple[int, ...]) -> Features:
    """Return features derived from the key: whoever writes a unit writes the same bytes."""
    rows = []
    for unit in units:
        seed = hashlib.sha256(f"{media} {unit}".encode()).digest()
        rng = np.random.default_rng(np.frombuffer(seed, np.uint32))
        rows.append(rng.standard_normal(tail, dtype=np.float32).astype(ml_dtypes.bfloat16))
    return Features({"main": np.stack(rows)})


def entry_of(
    number: int, num_units: int = 2, tail: tuple[int, ...] = (6, 16), tower: str = "clip"
) -> Entry:
    media, units = media_of(number), tuple(f"frame:{i}" for i in range(num_units))
    return Entry(
        signature=a_signature(tower=tower),
        media=media,
        units=units,
        features=content_of(media, units, tail),
        provenance={"benchmark": f"bench-{number % 2}", "host": "test"},
    )


def assert_is_content_of(store: Hdf5Store, key: FeatureKey, tail: tuple[int, ...]) -> None:
    assert_same_bits(store.get([key]), content_of(key.media, [key.unit], tail))


class Backup:
    """The files of a folder, to be put back after each damage."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files = {
            path.relative_to(folder): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }

    def restore(self) -> None:
        shutil.rmtree(self.folder)
        for name, data in self.files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        for namespace in (self.folder / "ns").iterdir():
            (namespace / "tmp").mkdir(exist_ok=True)


def damage(data: bytes, rng: random.Random) -> bytes:
    """Flip a bit or cut the end off."""
    if rng.random() < 0.8:
        flipped = bytearray(data)
        flipped[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        return bytes(flipped)
    return data[: rng.randrange(len(data))]


def fork(work: Callable[[], None]) -> int:
    """Run ``work`` in a forked process; return its pid. A fork starts in milliseconds."""
    # Ray's threads hold locks that a forked process would wait for without end.
    assert "ray" not in sys.modules or not sys.modules["ray"].is_initialized()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        work()
        code = 0
    except BaseException:
        traceback.print_exc()  # nobody above us sees it
    finally:
        os._exit(code)


def exit_code(pid: int) -> int:
    """Wait for a forked process; negative when a signal ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
