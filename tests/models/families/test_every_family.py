"""The folder of families is the registry, and each of them inherits the contract."""

import importlib
import json
from collections import Counter
from pathlib import Path

import pytest

from encodeonce.models.checkpoint.files import CheckpointError
from encodeonce.models.family import families, find_family
from tests.contracts.family import FamilyContract, spec
from tests.fixtures.tiny.nvila_lite import write_tiny_nvila_lite
from tests.fixtures.tiny.vila import write_tiny_vila
from tests.fixtures.tiny_models import write_tiny_llava

HERE = Path(__file__).parent


def contract_tests() -> set[str]:
    """Return the families named by classes in this folder that inherit the contract."""
    named = set()
    for path in sorted(HERE.glob("test_*.py")):
        if path.stem == Path(__file__).stem:
            continue
        module = importlib.import_module(f"tests.models.families.{path.stem}")
        for thing in vars(module).values():
            if isinstance(thing, type) and issubclass(thing, FamilyContract):
                named.add(getattr(thing, "family", None))
    return named - {None}


def test_every_family_inherits_the_contract() -> None:
    without = families().keys() - contract_tests()
    assert not without, f"models/families/{sorted(without)[0]}.py has no contract test"


def test_a_model_type_of_two_families_is_told_apart_by_the_checkpoint(tmp_path: Path) -> None:
    writers = {"vila": write_tiny_vila, "nvila_lite": write_tiny_nvila_lite}
    types = Counter(name for family in families().values() for name in family.model_types)
    shared = {name for name, count in types.items() if count > 1}
    assert shared == {"llava_llama"}
    sharing = {name for name, one in families().items() if shared & set(one.model_types)}
    assert sharing == writers.keys()
    for name, write in writers.items():
        (tmp_path / name).mkdir()
        family, _ = find_family(spec(write(tmp_path / name)))
        assert family is families()[name]


def with_model_type(folder: Path, model_type: str) -> Path:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "model_type": model_type}))
    return folder


def test_an_unknown_architecture_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    folder = with_model_type(write_tiny_llava(tmp_path), "a_new_one")
    with pytest.raises(CheckpointError, match=r"'a_new_one', which no family handles.*qwen2_vl"):
        find_family(spec(folder))


@pytest.mark.parametrize(
    ("model_type", "reason"), [("paligemma", "both directions"), ("mllama", "cross-attention")]
)
def test_what_cannot_be_shared_is_refused_with_the_reason(
    tmp_path: Path, model_type: str, reason: str
) -> None:
    folder = with_model_type(write_tiny_llava(tmp_path), model_type)
    with pytest.raises(CheckpointError, match=reason):
        find_family(spec(folder))
