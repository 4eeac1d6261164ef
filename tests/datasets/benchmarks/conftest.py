"""Hugging Face's cache, kept within each test."""

import importlib
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep Hugging Face's copies out of the user's cache, and its progress bars off stderr."""
    library = importlib.import_module("datasets")
    cache: Path = tmp_path_factory.mktemp("hf-cache")
    monkeypatch.setattr(library.config, "HF_DATASETS_CACHE", cache)
    monkeypatch.setattr(library.config, "HF_DATASETS_OFFLINE", True)
    library.disable_progress_bars()
