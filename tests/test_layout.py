"""The rules that keep five folders working as one package, and each readable (ARCHITECTURE.md)."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests import structure
from tests.structure import FOLDERS, ROOT, imported

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
    "vllm": {"models", "harness"},
    "wandb": {"harness"},
    "mlflow": {"harness"},
    "trackio": {"harness"},
}


def modules() -> list[Path]:
    return [path for folder in FOLDERS for path in structure.modules(folder)]


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


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_arrow_between_the_rooms_of_a_folder_points_back_up(folder: str) -> None:
    assert not [f"{arrow.file}: {arrow.imported}" for arrow in structure.back_up(folder)]


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_module_is_too_long_to_read(folder: str) -> None:
    lines = structure.module_lines(folder)
    assert not {
        str(path.relative_to(ROOT)): n
        for path, n in lines.items()
        if n > structure.MAX_MODULE_LINES
    }


def test_long_functions_are_rare() -> None:
    sizes = [n for folder in FOLDERS for n in structure.function_lines(folder).values()]
    assert structure.percentile(sizes, 99) < structure.P99_FUNCTION_LINES


def test_no_folder_is_a_warehouse() -> None:
    files = structure.flat_folders()
    assert not {str(path): n for path, n in files.items() if n > structure.MAX_FLAT_FILES}


def test_no_folder_is_a_regular_package() -> None:
    strays = [path for folder in FOLDERS for path in (ROOT / folder).rglob("__init__.py")]
    assert not strays, f"{strays}: `import datasets` here would no longer be Hugging Face's"


def test_packages_in_pyproject_are_the_folders_on_disk() -> None:
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    on_disk = {".".join(("encodeonce", *path.parent.relative_to(ROOT).parts)) for path in modules()}
    assert set(tools["setuptools"]["packages"]) == on_disk | {"encodeonce"}


def test_the_one_regular_package_holds_nothing_but_its_names() -> None:
    assert {path.name for path in (ROOT / "encodeonce").iterdir()} - {"__pycache__"} == {
        "__init__.py"
    }
    code = (
        "import sys, encodeonce; assert 'encodeonce.jobs' not in sys.modules\n"
        "from encodeonce import Comparison, FeatureStore, Run, compare, configure, evaluate\n"
        "from encodeonce import precompute\n"
        "assert set(dir(encodeonce)) == set(encodeonce.__all__)\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr


def test_the_tests_that_the_makefile_names_exist() -> None:
    named = re.findall(r"\btests/[\w./]+", (ROOT / "Makefile").read_text(encoding="utf-8"))
    assert len(named) > 3
    assert not [name for name in named if not (ROOT / name.rstrip(".")).exists()]


@pytest.mark.parametrize(
    ("package", "folder", "some"),
    [
        ("report", "templates", {"report.html.j2", "style.css", "script.js"}),
        ("viewer", "static", {"index.html", "viewer.css", "viewer.js"}),
    ],
)
def test_files_of_pages_are_package_data(package: str, folder: str, some: set[str]) -> None:
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    patterns = tools["setuptools"]["package-data"][f"encodeonce.harness.{package}"]
    room = ROOT / "harness" / package
    packed = {path for pattern in patterns for path in room.glob(pattern)}
    assert packed == set((room / folder).iterdir())
    assert {path.name for path in packed} >= some


def test_import_datasets_from_the_root_is_hugging_faces() -> None:
    code = "import datasets; print(hasattr(datasets, 'load_dataset'))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "True"
