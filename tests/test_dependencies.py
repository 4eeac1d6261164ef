"""What is imported is declared, and what is declared is imported."""

import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.structure import FOLDERS, ROOT, imported, modules

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
NAMES = {
    "PIL": "pillow",
    "yaml": "pyyaml",
    "sklearn": "scikit-learn",
    "skimage": "scikit-image",
    "mlflow": "mlflow-skinny",
    "easy_vqa": "easy-vqa",
    "pynvml": "nvidia-ml-py",
}
"""Distributions by import names, where these differ."""
OTHERS = {"kvpress", "lmms_eval", "triton", "vlmeval", "vllm"}
"""What users bring themselves: harnesses and engines that we plug into, GPU compilers."""
BY_NAME = {"datasets", "decord"}
"""Imported by `importlib`, where they are needed."""
FOR_OTHERS = {"accelerate"}
"""Wanted by a library for what we ask of it; pyproject.toml says for what."""
FOR_OTHERS_IN_EXTRAS = {
    "alembic": "MLflow's client, for a database",
    "sqlalchemy": "MLflow's client, for a database",
}
PLUGINS = {"pytest_timeout", "pytest_xdist"}
"""Of pytest, which finds them by itself."""


def distribution(requirement: str) -> str:
    found = re.match(r"[\w.-]+", requirement)
    assert found, requirement
    return found[0].lower().replace("-", "_")


def requirements(*extras: str) -> set[str]:
    lists = [PROJECT["optional-dependencies"][name] for name in extras]
    return {distribution(one) for some in lists for one in some}


NEEDED = {distribution(one) for one in PROJECT["dependencies"]}
EXTRAS = requirements(*(set(PROJECT["optional-dependencies"]) - {"test", "dev"}))


def third_party(path: Path) -> Iterator[str]:
    for name in imported(path):
        top = name.partition(".")[0]
        if top and top not in sys.stdlib_module_names and top != "encodeonce":
            yield NAMES.get(top, top).lower().replace("-", "_")


def used() -> set[str]:
    return {name for folder in FOLDERS for path in modules(folder) for name in third_party(path)}


def test_what_is_imported_is_declared() -> None:
    assert used() - NEEDED - EXTRAS == OTHERS


def test_what_is_declared_is_imported() -> None:
    assert NEEDED - used() == FOR_OTHERS | (BY_NAME & NEEDED)
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert all(f"wants {name}" in text for name in FOR_OTHERS)
    for name in BY_NAME:
        assert any(f'"{name}"' in path.read_text("utf-8") for path in modules("datasets")), name


def test_every_extra_is_imported_or_somebody_wants_it() -> None:
    own = requirements(*(set(PROJECT["optional-dependencies"]) - {"test", "dev"}))
    imports = {distribution(name): imported_as for imported_as, name in NAMES.items()}
    words = {name: f'"{imports.get(name, name)}"' for name in own}
    by_name = {name for name in own if any(words[name] in text for text in texts())}
    assert own - used() - by_name == set(FOR_OTHERS_IN_EXTRAS)


def texts() -> list[str]:
    return [path.read_text("utf-8") for folder in FOLDERS for path in modules(folder)]


def test_what_tests_have_tests_import() -> None:
    asked = {one for one in requirements("test") if one != "encodeonce"}
    found = (ROOT / "tests").rglob("*.py")
    paths = [path for path in found if not path.parent.name.endswith("_code")]  # checkpoints'
    imports = {name for path in paths for name in third_party(path)}
    by_name = {"hdf5plugin"}  # in code that another process runs
    assert asked - imports == PLUGINS | by_name


def test_transformers_still_wants_accelerate_for_a_device_map(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from transformers.integrations import accelerate

    accelerate.check_and_set_device_map({"": "cpu"})
    monkeypatch.setattr(accelerate, "is_accelerate_available", lambda: False)
    with pytest.raises(ValueError, match="accelerate"):
        accelerate.check_and_set_device_map({"": "cpu"})


def test_ray_and_decord_are_extras_that_the_tests_and_the_demo_have() -> None:
    extras = PROJECT["optional-dependencies"]
    for name in ("ray", "decord"):
        assert name not in NEEDED
        assert distribution(extras[name][0]) == name
        assert re.search(rf"\[[\w,]*\b{name}\b", extras["test"][0])
