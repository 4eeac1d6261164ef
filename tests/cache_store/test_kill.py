"""Writers killed at any moment leave whole entries, and nothing to repair by hand."""

import os
import random
import signal
import time
from pathlib import Path

from encodeonce.cache_store.hdf5 import Hdf5Store
from encodeonce.cache_store.home import Home
from encodeonce.cache_store.maintenance.verify import verify
from tests.cache_store.stores import SOAK, assert_is_content_of, entry_of, exit_code, fork

NUM_KILLS = 312 if SOAK else 24
NUM_GROUP_KILLS = 20 if SOAK else 3
NUM_WRITERS = 3
KILLS_A_ROUND = 12
TAIL = (64, 256)


def write_for_ever(root: Path, journal: Path, seed: int) -> None:
    """Put entries, some of which other writers put too, and record each finished put."""
    rng = random.Random(seed)
    store = Hdf5Store(root, codec=rng.choice(["zstd", "raw"]), num_threads=1)
    with journal.open("a") as lines:
        while True:
            numbers = rng.sample(range(100_000 if rng.random() < 0.7 else 50), rng.randint(1, 3))
            store.put([entry_of(number, rng.randint(1, 4), TAIL) for number in numbers])
            lines.write("".join(f"{number}\n" for number in numbers))
            lines.flush()


def start_writer(root: Path, journals: Path) -> int:
    seed = random.getrandbits(32)
    return fork(lambda: write_for_ever(root, journals / str(seed), seed))


def check_all(root: Path, journals: Path, checked: set[str]) -> None:
    """Read everything committed, and find everything that a writer was told is committed."""
    store = Hdf5Store(root)
    for key in list(store.keys()):
        if str(key) not in checked:
            assert_is_content_of(store, key, TAIL)
            checked.add(str(key))
    for journal in journals.iterdir():
        for number in journal.read_text().split("\n")[:-1]:
            assert entry_of(int(number), 1, TAIL).keys[0] in store


def test_every_committed_entry_survives_kill_9_of_writers(tmp_path: Path) -> None:
    root, journals = tmp_path / "store", tmp_path / "journals"
    journals.mkdir()
    rng, checked = random.Random(0), set[str]()
    for _ in range(NUM_KILLS // KILLS_A_ROUND):
        writers = [start_writer(root, journals) for _ in range(NUM_WRITERS)]
        for kill in range(KILLS_A_ROUND):
            time.sleep(rng.uniform(0.002, 0.12))
            kill_9(writers.pop(rng.randrange(len(writers))))
            if kill < KILLS_A_ROUND - NUM_WRITERS:
                writers.append(start_writer(root, journals))
        check_all(root, journals, checked)
    assert len(checked) > NUM_KILLS
    assert_needs_no_repair(root)


def kill_9(writer: int) -> None:
    os.kill(writer, signal.SIGKILL)
    assert exit_code(writer) == -signal.SIGKILL  # it had not failed by itself


def test_every_committed_entry_survives_kill_9_of_the_process_group(tmp_path: Path) -> None:
    root, journals = tmp_path / "store", tmp_path / "journals"
    journals.mkdir()
    rng, checked = random.Random(1), set[str]()
    for _ in range(NUM_GROUP_KILLS):
        leader = fork(lambda: lead_group(root, journals))
        os.setpgid(leader, leader)  # before it starts anybody: it waits for this
        time.sleep(rng.uniform(0.2, 0.5))
        os.killpg(leader, signal.SIGKILL)
        assert exit_code(leader) == -signal.SIGKILL
        check_all(root, journals, checked)
    assert len(checked) > NUM_GROUP_KILLS
    assert_needs_no_repair(root)


def lead_group(root: Path, journals: Path) -> None:
    while os.getpgid(0) != os.getpid():
        time.sleep(0.001)
    writers = [start_writer(root, journals) for _ in range(NUM_WRITERS)]
    for writer in writers:
        exit_code(writer)


def assert_needs_no_repair(root: Path) -> None:
    report = verify(Home(root))
    assert report.clean, report
    store, entry = Hdf5Store(root), entry_of(-1, 2, TAIL)
    store.put([entry])
    assert store.counters.written == 2
