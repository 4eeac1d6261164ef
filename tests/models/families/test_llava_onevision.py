"""LLaVA-OneVision inherits the contract."""

from pathlib import Path
from typing import ClassVar

from encodeonce.models.spec import Tap
from tests.contracts.family import FamilyContract
from tests.fixtures.tiny.llava_onevision import write_tiny_llava_onevision


class TestLlavaOnevision(FamilyContract):
    family = "llava_onevision"
    matters: ClassVar[dict[str, dict[Tap, bool]]] = {
        "vision_tower": {"tower": True, "projected": True},
        "multi_modal_projector": {"tower": False, "projected": True},
        "language_model": {"tower": False, "projected": False},
    }

    @staticmethod
    def write(folder: Path) -> Path:
        return write_tiny_llava_onevision(folder)
