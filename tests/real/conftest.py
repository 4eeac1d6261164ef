"""The model, read once."""

from pathlib import Path

import pytest

from tests.real.smollm2 import TextDecoder, write_checkpoint


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("smollm2"))


@pytest.fixture(scope="session")
def decoder(checkpoint: Path) -> TextDecoder:
    return TextDecoder(checkpoint)
