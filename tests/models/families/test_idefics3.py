"""Idefics3 inherits the contract."""

from pathlib import Path
from typing import ClassVar

from encodeonce.models.spec import Tap
from tests.contracts.family import FamilyContract
from tests.fixtures.tiny.idefics3 import write_tiny_idefics3


class TestIdefics3(FamilyContract):
    family = "idefics3"
    placeholder = "<image>"
    matters: ClassVar[dict[str, dict[Tap, bool]]] = {
        "vision_model": {"tower": True, "projected": True},
        "connector": {"tower": False, "projected": True},
        "embed_tokens": {"tower": False, "projected": False},
    }

    @staticmethod
    def write(folder: Path) -> Path:
        return write_tiny_idefics3(folder)
