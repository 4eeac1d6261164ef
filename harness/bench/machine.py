"""Describes the machine and software of a measurement, and waits for the machine to be idle."""

import hashlib
import os
import platform
import threading
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

LIBRARIES = ("encodeonce", "torch", "transformers")

PROBE = bytes(1 << 20)
NUM_HASHES = 40
"""Hashes of `PROBE` per thread: about 20 ms of one core."""
IDLE = 0.9
"""Share of the requested cores above which they count as free."""


def hardware() -> dict[str, Any]:
    """Return the hardware on which a number was measured, as plain JSON values."""
    found: dict[str, Any] = {
        "device": _processor(),
        "processor": _processor(),
        "num_cpus": os.cpu_count(),
        "num_threads": torch.get_num_threads(),
        "system": platform.platform(),
    }
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        found |= {
            "device": properties.name,
            "device_bytes": properties.total_memory,
            "cuda": torch.version.cuda,
        }
    return found


def versions() -> dict[str, str]:
    """Return the versions of the software that a measurement depends on."""
    return {"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}}


def _processor() -> str:
    """Return the processor's name as Linux reports it, or what is known elsewhere."""
    described = Path("/proc/cpuinfo")
    if described.exists():
        for line in described.read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()


def available_cores(num_threads: int) -> float:
    """Return how many cores ``num_threads`` threads get at this moment.

    Hashing releases the GIL and stays in the cache, so missing cores are in use by others.
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
    """Wait, at most ``wait_s``, until the threads get their cores; return how many they get."""
    give_up_s = time.monotonic() + wait_s
    while True:
        cores = available_cores(num_threads)
        if cores >= IDLE * num_threads or time.monotonic() >= give_up_s:
            return cores
        time.sleep(0.2)
