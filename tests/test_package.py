"""The source distribution and the wheel, away from the source."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.structure import FOLDERS, ROOT

BUILD = "import sys; from setuptools import build_meta as b; b.build_{}(sys.argv[1])"


def built(source: Path, kind: str, target: Path) -> Path:
    """Build a distribution of a source tree, by the installed setuptools."""
    target.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", BUILD.format(kind), target],
        cwd=source,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    (found,) = target.iterdir()
    return found


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the wheel that was built of the source distribution."""
    folder = tmp_path_factory.mktemp("package")
    source = folder / "source"
    source.mkdir()
    unwanted = shutil.ignore_patterns("__pycache__")
    for name in (*FOLDERS, "encodeonce"):
        shutil.copytree(ROOT / name, source / name, ignore=unwanted)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    sdist = built(source, "sdist", folder / "sdist")
    with tarfile.open(sdist) as packed:
        packed.extractall(folder / "unpacked", filter="data")
    (unpacked,) = (folder / "unpacked").iterdir()
    wheel = built(unpacked, "wheel", folder / "wheel")
    with zipfile.ZipFile(wheel) as packed_wheel:
        packed_wheel.extractall(folder / "installed")
    return folder / "installed"


def call(installed: Path, *words: str) -> str:
    """Run the command from the wheel, in an empty folder, and return what it prints."""
    place = installed.parent / "elsewhere"
    place.mkdir(exist_ok=True)
    code = (
        "import encodeonce, sys; from encodeonce.jobs.cli.main import main; "
        f"assert encodeonce.__path__ == [{str(installed / 'encodeonce')!r}]; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        cwd=place,
        env={**os.environ, "PYTHONPATH": str(installed), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_file_that_the_program_needs_is_packed(installed: Path) -> None:
    packed = {path.relative_to(installed / "encodeonce") for path in installed.rglob("*.py")}
    modules = {path.relative_to(ROOT) for name in FOLDERS for path in (ROOT / name).rglob("*.py")}
    assert packed == modules | {Path("__init__.py")}
    for name in ("harness/report/templates/style.css", "models/demo/checkpoint/config.json"):
        assert (installed / "encodeonce" / name).is_file()


def test_it_runs_away_from_the_source(installed: Path) -> None:
    assert "video_mme" in call(installed, "benchmarks")
    options = ["--model", "demo", "--tasks", "demo", "--limit", "1", "--set", "cache.path=cache"]
    assert "8 missing, 0 damaged; 0 media items unusable" in call(
        installed, "precompute", "--dry-run", *options
    )
