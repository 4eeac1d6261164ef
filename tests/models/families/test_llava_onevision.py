"""LLaVA-OneVision inherits the contract."""

from tests.contracts.family import FamilyContract, told_apart
from tests.fixtures.tiny.llava_onevision import write_tiny_llava_onevision


class TestLlavaOnevision(FamilyContract):
    family = "llava_onevision"
    matters = told_apart("vision_tower", "multi_modal_projector", "language_model")
    write = staticmethod(write_tiny_llava_onevision)
