"""Qwen3-VL inherits the contract."""

from tests.contracts.qwen_vl import QwenVLContract
from tests.fixtures.tiny.qwen_vl import write_tiny_qwen3_vl


class TestQwen3VL(QwenVLContract):
    family = "qwen3_vl"
    write = staticmethod(write_tiny_qwen3_vl)
