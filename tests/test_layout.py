"""The rules that keep five flat folders working as one package (ARCHITECTURE.md)."""

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = ("cache_store", "datasets", "harness", "jobs", "models")

MAY_IMPORT = {
    "jobs": {"harness", "models", "datasets", "cache_store"},
    "harness": {"models", "datasets", "cache_store"},
    "models": {"datasets", "cache_store"},
    "datasets": set(),
    "cache_store": set(),
}
ONLY_IN = {
    "ray": {"jobs"},
    "torch": {"models", "harness", "jobs"},
    "transformers": {"models", "harness"},
    "lmms_eval": {"harness"},
    "vlmeval": {"harness"},
}


def modules() -> list[Path]:
    return sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))


def imported(path: Path) -> set[str]:
    """Return the dotted names that a module imports, at any depth."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add(node.module or "")
    return names


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_only_go_down(path: Path) -> None:
    folder = path.relative_to(ROOT).parts[0]
    for name in imported(path):
        parts = name.split(".")
        assert parts[0] not in FOLDERS or parts[0] == "datasets", (
            f"{path} imports {name}: a second import name is a second copy of every class"
        )
        if parts[0] == "encodeonce" and parts[1] != folder:
            assert parts[1] in MAY_IMPORT[folder], f"{path} imports upwards: {name}"
        assert folder in ONLY_IN.get(parts[0], {folder}), f"{folder}/ may not import {parts[0]}"


def test_no_folder_is_a_regular_package() -> None:
    strays = [path for folder in FOLDERS for path in (ROOT / folder).rglob("__init__.py")]
    assert not strays, f"{strays}: `import datasets` here would no longer be Hugging Face's"


def test_packages_in_pyproject_are_the_folders_on_disk() -> None:
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    on_disk = {".".join(("encodeonce", *path.parent.relative_to(ROOT).parts)) for path in modules()}
    assert set(tools["setuptools"]["packages"]) == on_disk


def test_page_templates_are_package_data() -> None:
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    patterns = tools["setuptools"]["package-data"]["encodeonce.harness.report"]
    folder = ROOT / "harness" / "report"
    packed = {path for pattern in patterns for path in folder.glob(pattern)}
    assert packed == set((folder / "templates").iterdir())
    assert {path.name for path in packed} >= {"report.html.j2", "style.css", "script.js"}


def test_import_datasets_from_the_root_is_hugging_faces() -> None:
    code = "import datasets; print(hasattr(datasets, 'load_dataset'))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "True"
