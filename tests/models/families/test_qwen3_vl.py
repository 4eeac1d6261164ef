"""Qwen3-VL inherits the contract."""

from pathlib import Path

from tests.contracts.qwen_vl import QwenVLContract
from tests.fixtures.tiny.qwen_vl import write_tiny_qwen3_vl


class TestQwen3VL(QwenVLContract):
    family = "qwen3_vl"

    @staticmethod
    def write(folder: Path) -> Path:
        return write_tiny_qwen3_vl(folder)
