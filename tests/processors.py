"""Runs the kernels of other processors, chosen by environment variables: ``make test-processors``.

Which kernels multiply decides how rows of a batch are rounded. A suite that passes on one machine
may rely on its kernels, so the contracts are run once more under each of `SETTINGS`, each in a
process of its own: the libraries read these variables when they are loaded.
"""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]
AVX2_AND_MORE = ("AVX2", "AVX512")

LEAST = {
    "MKL_CBWR": "COMPATIBLE",
    "ATEN_CPU_CAPABILITY": "default",
    "ONEDNN_MAX_CPU_ISA": "SSE41",
}
"""What every x86-64 processor can do. The first lets a row's bits depend on the rows beside it, as
AMX and AVX-512 do by default; the others only add in another order."""

REPRODUCIBLE = {
    "MKL_CBWR": "AVX2,STRICT",
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
}
"""MKL's strict reproducibility, and no more than AVX2 elsewhere: where measured, a frame's bits do
not depend on its batch. Here they are compared between batches of different shapes too."""

SETTINGS: Mapping[str, Mapping[str, str]] = {"least": LEAST, "reproducible": REPRODUCIBLE}

FILES = (
    "models/**/test_internvl.py",
    "models/**/test_llava.py",
    "models/**/test_nvila_lite.py",
    "models/**/test_smolvlm.py",
    "models/**/test_qwen2_5_vl.py",
    "models/**/test_rows.py",
    "models/adapters/test_operators.py",
    "jobs/**/test_matrix.py",
    "jobs/**/test_run.py",
)
"""Families whose frames plain transformers encodes in one batch, the last of which keeps positions
in the model, each under all KV methods; weights that mix rows; rows under different adapters; and
whole runs."""

only_reproducible = pytest.mark.skipif(
    any(os.environ.get(name) != value for name, value in REPRODUCIBLE.items()),
    reason="bits of batches of different shapes: make test-processors",
)


def why_not(name: str) -> str | None:
    """Return why this machine cannot use a setting, if it cannot."""
    if name == "reproducible" and not torch.backends.mkl.is_available():
        return "this build of PyTorch has no MKL"
    if name == "reproducible" and torch.backends.cpu.get_cpu_capability() not in AVX2_AND_MORE:
        return "this processor has no AVX2"
    return None


def found(pattern: str) -> list[str]:
    """Return the test files that a pattern matches.

    Raises:
        FileNotFoundError: none; nobody would miss them.
    """
    paths = [str(path) for path in (ROOT / "tests").glob(pattern)]
    if not paths:
        raise FileNotFoundError(f"no file is {pattern}, which tests/processors.py names")
    return paths


def main() -> int:
    """Run the contracts under every setting, one thread each, at the same time."""
    paths = [path for pattern in FILES for path in found(pattern)]
    running = {}
    for name, setting in SETTINGS.items():
        if reason := why_not(name):
            print(f"{name}: skipped, {reason}")  # noqa: T201
            continue
        command = [sys.executable, "-m", "pytest", "-q", *paths]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", **setting}
        running[name] = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
    for name, process in running.items():
        output, _ = process.communicate()
        variables = " ".join(f"{key}={value}" for key, value in SETTINGS[name].items())
        print(f"{output}{name} ({variables}): exit status {process.returncode}")  # noqa: T201
    return int(any(process.returncode for process in running.values()))


if __name__ == "__main__":
    sys.exit(main())
