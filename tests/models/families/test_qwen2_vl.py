"""Qwen2-VL inherits the contract."""

from pathlib import Path

from tests.contracts.qwen_vl import QwenVLContract
from tests.fixtures.tiny.qwen_vl import write_tiny_qwen2_vl


class TestQwen2VL(QwenVLContract):
    family = "qwen2_vl"

    @staticmethod
    def write(folder: Path) -> Path:
        return write_tiny_qwen2_vl(folder)
