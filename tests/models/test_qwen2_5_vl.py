"""Qwen2.5-VL inherits the contract."""

from pathlib import Path
from typing import ClassVar

from encodeonce.models.spec import Tap
from tests.contracts.family import FamilyContract
from tests.tiny.qwen_vl import IMAGE, write_tiny_qwen2_5_vl


class TestQwen25VL(FamilyContract):
    family = "qwen2_5_vl"
    taps: ClassVar[tuple[Tap, ...]] = ("projected",)
    placeholder = IMAGE
    state = ("model.rope_deltas",)
    matters: ClassVar[dict[str, dict[Tap, bool]]] = {
        "visual": {"projected": True},
        "embed_tokens": {"projected": False},
    }

    @staticmethod
    def write(folder: Path) -> Path:
        return write_tiny_qwen2_5_vl(folder)
