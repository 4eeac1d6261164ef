"""LLaVA: features taken apart from the language model, and put back in."""

from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from encodeonce.models.checkpoint.files import CheckpointError
from encodeonce.models.family import find_family
from encodeonce.models.spec import VisionSpec
from tests.contracts.family import FamilyContract, spec, told_apart
from tests.fixtures.tiny_models import write_tiny_llava


class TestLlava(FamilyContract):
    family = "llava"
    matters = told_apart("vision_tower", "multi_modal_projector", "language_model")
    write = staticmethod(write_tiny_llava)


class TestLlavaWithSiglip(TestLlava):
    @staticmethod
    def write(folder: Path) -> Path:
        return write_tiny_llava(folder, tower="siglip")


def test_a_checkpoint_that_lacks_weights_is_refused(tmp_path: Path) -> None:
    folder = write_tiny_llava(tmp_path)
    path = folder / "model.safetensors"
    weights = load_file(path)
    del weights[next(name for name in sorted(weights) if "vision_tower" in name)]
    save_file(weights, path, metadata={"format": "pt"})
    family, found = find_family(spec(folder))
    with pytest.raises(CheckpointError, match="lacks 1 weights"):
        family.vision(found, spec(folder), VisionSpec()).load()


def test_pickled_weights_are_not_read(tmp_path: Path) -> None:
    folder = write_tiny_llava(tmp_path)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="Pickled weights"):
        find_family(spec(folder))
