"""InternVL inherits the contract."""

from pathlib import Path
from typing import ClassVar

from encodeonce.models.spec import Tap
from tests.contracts.family import FamilyContract
from tests.fixtures.tiny.internvl import write_tiny_internvl


class TestInternVL(FamilyContract):
    family = "internvl"
    placeholder = "<IMG_CONTEXT>"
    matters: ClassVar[dict[str, dict[Tap, bool]]] = {
        "vision_tower": {"tower": True, "projected": True},
        "multi_modal_projector": {"tower": False, "projected": True},
        "embed_tokens": {"tower": False, "projected": False},
    }

    @staticmethod
    def write(folder: Path) -> Path:
        return write_tiny_internvl(folder)
