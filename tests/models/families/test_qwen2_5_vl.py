"""Qwen2.5-VL inherits the contract."""

from pathlib import Path

from tests.contracts.qwen_vl import QwenVLContract
from tests.fixtures.tiny.qwen_vl import write_tiny_qwen2_5_vl


class TestQwen25VL(QwenVLContract):
    family = "qwen2_5_vl"

    @staticmethod
    def write(folder: Path) -> Path:
        return write_tiny_qwen2_5_vl(folder)
