"""The demo model and a made-up video."""

from typing import Any

import pytest

from encodeonce.models.checkpoint.files import DEMO_CHECKPOINT
from encodeonce.models.spec import VisionSpec
from encodeonce.models.vision.visual import Visual
from tests.contracts.family import Model, Scene


@pytest.fixture(scope="session")
def demo() -> Model:
    return Model(DEMO_CHECKPOINT, VisionSpec())


@pytest.fixture(scope="session")
def decoder(demo: Model) -> Any:
    return demo.decoder


@pytest.fixture(scope="session")
def visuals(demo: Model) -> list[Visual]:
    return [demo.visual(Scene("video", range(0, 16, 2), size=(64, 64), seed=3))]
