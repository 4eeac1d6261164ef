"""The machine and the software that something was measured on."""

import hashlib
import os
import platform
import threading
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch


def hardware() -> dict[str, Any]:
    """Return what a figure has to be read with, as plain JSON values."""
    found: dict[str, Any] = {
        "device": _processor(),
        "processor": _processor(),
        "num_cpus": os.cpu_count(),
        "num_threads": torch.get_num_threads(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": version("transformers"),
    }
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        found |= {
            "device": properties.name,
            "device_bytes": properties.total_memory,
            "cuda": torch.version.cuda,
        }
    return found


def _processor() -> str:
    """Return the processor's name as Linux has it, or what there is elsewhere."""
    described = Path("/proc/cpuinfo")
    if described.exists():
        for line in described.read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()


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
