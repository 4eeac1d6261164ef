"""vLLM for tests: whether it is installed, a checkpoint that it reads, and its environment."""

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from encodeonce.models.checkpoint.files import local_checkpoint
from encodeonce.models.checkpoint.hub_names import rename_tower
from encodeonce.models.spec import ModelSpec

SHIM = Path(__file__).parents[2] / "torchvision_on_cpu"
TIMEOUT_S = 1500
"""A busy machine takes minutes to import vLLM."""

needs_vllm = pytest.mark.skipif(
    importlib.util.find_spec("vllm") is None,
    reason="needs vLLM: type `make test-vllm`, which makes an environment with it",
)


def demo_checkpoint(folder: Path) -> Path:
    """Copy the demo's model to where vLLM can read its tower."""
    copy = folder / "demo"
    shutil.copytree(local_checkpoint(ModelSpec(path="demo")), copy)
    rename_tower(copy)
    return copy


def environment(**more: str) -> dict[str, str]:
    """Return an environment without a network, on one thread, in which vLLM starts on a CPU."""
    return {
        **os.environ,
        **dict.fromkeys(("HF_HUB_OFFLINE", "VLLM_NO_USAGE_STATS"), "1"),
        **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1"),
        "PYTHONPATH": str(SHIM),
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "TORCH_COMPILE_DISABLE": "1",
        **more,
    }


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a Python command in ``folder`` to its end."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


def encodeonce(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run our command line."""
    return run(folder, "-m", "encodeonce.jobs.cli.main", *arguments)


def ec_config(path: Path, **options: object) -> dict[str, object]:
    """Return what tells vLLM to keep encoder outputs in our store."""
    return {
        "ec_connector": "EncodeOnceConnector",
        "ec_connector_module_path": "encodeonce.harness.bridges.vllm.connector",
        "ec_role": "ec_both",
        "ec_connector_extra_config": {"path": str(path), **options},
    }


def small(model: Path) -> Sequence[str]:
    """Return options of `vllm serve` for a small model on a busy machine."""
    return (
        *(str(model), "--dtype", "float32", "--enforce-eager", "--max-model-len", "1024"),
        *("--max-num-seqs", "8", "--limit-mm-per-prompt", '{"image": 8}'),
    )
