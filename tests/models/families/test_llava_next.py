"""LLaVA-NeXT inherits the contract; its reference is transformers' own processor."""

from pathlib import Path
from typing import ClassVar

from encodeonce.models.spec import Tap
from tests.contracts.family import FamilyContract
from tests.fixtures.tiny.llava_next import write_tiny_llava_next


class TestLlavaNext(FamilyContract):
    family = "llava_next"
    matters: ClassVar[dict[str, dict[Tap, bool]]] = {
        "vision_tower": {"tower": True, "projected": True},
        "multi_modal_projector": {"tower": False, "projected": True},
        "language_model": {"tower": False, "projected": False},
    }

    @staticmethod
    def write(folder: Path) -> Path:
        return write_tiny_llava_next(folder)
