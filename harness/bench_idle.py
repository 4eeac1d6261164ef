"""How much of the machine a benchmark gets."""

import hashlib
import threading
import time

PROBE = bytes(1 << 20)
NUM_HASHES = 40
"""About 20 ms of one core."""
IDLE = 0.9


def available_cores(num_threads: int) -> float:
    """Return how many cores ``num_threads`` threads get at this moment.

    Hashing releases the GIL and stays in the cache: what is missing, others have.
    """

    def work() -> None:
        for _ in range(NUM_HASHES):
            hashlib.sha256(PROBE).digest()

    threads = [threading.Thread(target=work) for _ in range(num_threads)]
    started_s, cpu_s = time.perf_counter(), time.process_time()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return (time.process_time() - cpu_s) / (time.perf_counter() - started_s)


def wait_until_idle(num_threads: int, wait_s: float) -> float:
    """Wait, at most ``wait_s``, until the threads get their cores; return what they get then."""
    give_up_s = time.monotonic() + wait_s
    while True:
        cores = available_cores(num_threads)
        if cores >= IDLE * num_threads or time.monotonic() >= give_up_s:
            return cores
        time.sleep(0.2)
