"""Qwen2-VL inherits the contract."""

from tests.contracts.qwen_vl import QwenVLContract
from tests.fixtures.tiny.qwen_vl import write_tiny_qwen2_vl


class TestQwen2VL(QwenVLContract):
    family = "qwen2_vl"
    write = staticmethod(write_tiny_qwen2_vl)
