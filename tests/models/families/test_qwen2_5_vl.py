"""Qwen2.5-VL inherits the contract."""

from tests.contracts.qwen_vl import QwenVLContract
from tests.fixtures.tiny.qwen_vl import write_tiny_qwen2_5_vl


class TestQwen25VL(QwenVLContract):
    family = "qwen2_5_vl"
    write = staticmethod(write_tiny_qwen2_5_vl)
