"""What is imported is declared, and what is declared is imported."""

import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

from tests.structure import FOLDERS, ROOT, imported, modules

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
NAMES = {"PIL": "pillow", "yaml": "pyyaml", "sklearn": "scikit-learn", "skimage": "scikit-image"}
"""Distributions by import names, where these differ."""
OTHERS = {"kvpress", "lmms_eval", "triton", "vlmeval", "vllm"}
"""What users bring themselves: harnesses and engines that we plug into, GPU compilers."""
BY_NAME = {"datasets", "decord"}
"""Imported by `importlib`, where they are needed."""
FOR_OTHERS = {"accelerate"}
"""Wanted by a library for what we ask of it; pyproject.toml says for what."""


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


def test_ray_and_decord_are_extras_that_the_tests_and_the_demo_have() -> None:
    extras = PROJECT["optional-dependencies"]
    for name in ("ray", "decord"):
        assert name not in NEEDED
        assert distribution(extras[name][0]) == name
        assert re.search(rf"\[[\w,]*\b{name}\b", extras["test"][0])
