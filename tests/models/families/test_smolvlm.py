"""SmolVLM inherits the contract."""

from tests.contracts.family import FamilyContract, told_apart
from tests.fixtures.tiny.idefics3 import write_tiny_smolvlm


class TestSmolVLM(FamilyContract):
    family = "smolvlm"
    placeholder = "<image>"
    matters = told_apart("vision_model", "connector", "embed_tokens")
    write = staticmethod(write_tiny_smolvlm)
