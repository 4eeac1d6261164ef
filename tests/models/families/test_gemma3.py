"""Gemma 3 inherits the contract."""

from tests.contracts.family import FamilyContract, told_apart
from tests.fixtures.tiny.gemma3 import write_tiny_gemma3


class TestGemma3(FamilyContract):
    family = "gemma3"
    placeholder = "<start_of_image>"
    matters = told_apart("vision_tower", "multi_modal_projector", "embed_tokens")
    write = staticmethod(write_tiny_gemma3)
