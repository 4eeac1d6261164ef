"""LLaVA-NeXT inherits the contract; its reference is transformers' own processor."""

from tests.contracts.family import FamilyContract, told_apart
from tests.fixtures.tiny.llava_next import write_tiny_llava_next


class TestLlavaNext(FamilyContract):
    family = "llava_next"
    matters = told_apart("vision_tower", "multi_modal_projector", "language_model")
    write = staticmethod(write_tiny_llava_next)
