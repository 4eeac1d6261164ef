"""The GPU, and what has to be there for a test."""

import importlib.util
import os

import pytest
import torch


@pytest.fixture(scope="session")
def gpu() -> torch.device:
    if not torch.cuda.is_available():
        pytest.skip("needs a GPU that this PyTorch can use")
    return torch.device("cuda", torch.cuda.current_device())


@pytest.fixture(scope="session")
def triton_device() -> torch.device:
    """Where Triton runs: on a GPU, or interpreted, which TRITON_INTERPRET=1 asks for."""
    if importlib.util.find_spec("triton") is None:
        pytest.skip("Triton is not installed: type `make test-triton`")
    if os.environ.get("TRITON_INTERPRET") == "1":
        return torch.device("cpu")
    if not torch.cuda.is_available():
        pytest.skip("needs a GPU, or TRITON_INTERPRET=1: type `make test-triton`")
    return torch.device("cuda", torch.cuda.current_device())
