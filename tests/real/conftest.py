"""The model, read once; passages of prose, and a compressor trained on them for some seconds."""

from pathlib import Path
from typing import Any

import pytest

from tests.real.merging import Trained, form, train
from tests.real.passages import Parts, ProseLessons, Read, parts
from tests.real.smollm2 import TextDecoder, write_checkpoint

NUM_BEFORE, NUM_AFTER, FACTOR = 160, 24, 8


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("smollm2"))


@pytest.fixture(scope="session")
def decoder(checkpoint: Path) -> TextDecoder:
    return TextDecoder(checkpoint)


@pytest.fixture(scope="session")
def model(decoder: TextDecoder) -> Any:
    return decoder.model.requires_grad_(requires_grad=False)


@pytest.fixture(scope="session")
def prose(decoder: TextDecoder) -> Parts:
    return parts(decoder, NUM_BEFORE + NUM_AFTER + 1, 6, 1, 3)


@pytest.fixture(scope="session")
def trained(model: Any, prose: Parts, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    lessons = ProseLessons(model, prose.training, NUM_AFTER, seed=0)
    validation = [Read(model, one).lesson(NUM_BEFORE, NUM_AFTER) for one in prose.validation]
    folder = tmp_path_factory.mktemp("ccm")
    return train(model, form(FACTOR), lessons, validation, folder, max_steps=15)
