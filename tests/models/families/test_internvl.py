"""InternVL inherits the contract."""

from tests.contracts.family import FamilyContract, told_apart
from tests.fixtures.tiny.internvl import write_tiny_internvl


class TestInternVL(FamilyContract):
    family = "internvl"
    placeholder = "<IMG_CONTEXT>"
    matters = told_apart("vision_tower", "multi_modal_projector", "embed_tokens")
    write = staticmethod(write_tiny_internvl)
