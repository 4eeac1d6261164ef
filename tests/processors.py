"""Kernels of other processors than this one, by environment variables: ``make test-processors``.

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

LEAST = {
    "MKL_CBWR": "COMPATIBLE",
    "ATEN_CPU_CAPABILITY": "default",
    "ONEDNN_MAX_CPU_ISA": "SSE41",
}
"""What every x86-64 processor can do. The first changes a row's bits with the rows beside it, as
AMX and AVX-512 do without being asked; the others only add in another order."""

REPRODUCIBLE = {
    "MKL_CBWR": "AVX2,STRICT",
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
}
"""MKL's strict reproducibility, and no more than AVX2 elsewhere: where measured, a frame's bits do
not depend on its batch. Here they are compared between batches of different shapes too."""

SETTINGS: Mapping[str, Mapping[str, str]] = {"least": LEAST, "reproducible": REPRODUCIBLE}

PATHS = (
    "tests/models/families/test_internvl.py",
    "tests/models/families/test_llava.py",
    "tests/models/families/test_nvila_lite.py",
    "tests/models/families/test_qwen2_5_vl.py",
    "tests/models/families/test_smolvlm.py",
    "tests/models/checkpoint/test_rows.py",
    "tests/jobs/test_matrix.py",
    "tests/jobs/test_run.py",
)
"""Families whose frames plain transformers encodes in one batch (the first three, and SmolVLM), one
that keeps positions in the model, each under all KV methods; and whole runs."""

only_reproducible = pytest.mark.skipif(
    any(os.environ.get(name) != value for name, value in REPRODUCIBLE.items()),
    reason="bits of batches of different shapes: make test-processors",
)


def why_not(name: str) -> str | None:
    """Return why this machine cannot be set so, if it cannot."""
    if name == "reproducible" and not torch.backends.mkl.is_available():
        return "this build of PyTorch has no MKL"
    if name == "reproducible" and torch.backends.cpu.get_cpu_capability() not in AVX2_AND_MORE:
        return "this processor has no AVX2"
    return None


AVX2_AND_MORE = ("AVX2", "AVX512")


def main() -> int:
    """Run the contracts under every setting, one thread each, at the same time."""
    running = {}
    for name, setting in SETTINGS.items():
        if reason := why_not(name):
            print(f"{name}: skipped, {reason}")  # noqa: T201
            continue
        command = [sys.executable, "-m", "pytest", "-q", *PATHS]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", **setting}
        running[name] = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
    for name, process in running.items():
        output, _ = process.communicate()
        variables = " ".join(f"{key}={value}" for key, value in SETTINGS[name].items())
        print(f"{output}{name} ({variables}): exit status {process.returncode}")  # noqa: T201
    return int(any(process.returncode for process in running.values()))


ROOT = Path(__file__).parents[1]

if __name__ == "__main__":
    sys.exit(main())
