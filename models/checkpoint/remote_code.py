"""Run the Python code that comes with a checkpoint, if the user has named exactly this code.

The bytes that were digested are run: no file is read twice, no ``.pyc`` is used, and nothing is
written. Modules of one checkpoint import one another relatively, as the hub's do.
"""

import hashlib
import importlib
import sys
from collections.abc import Mapping, Sequence
from importlib.abc import InspectLoader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_loader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from encodeonce.models.checkpoint.files import CheckpointError, named_folder
from encodeonce.models.spec import ModelSpec


def code_sha256(folder: Path) -> str:
    """Return the digest of a checkpoint's Python files, names and contents, hexadecimal."""
    return _digest(_sources(folder))


def check_trusted(folder: Path, model: ModelSpec) -> None:
    """Refuse to run a checkpoint's code unless the user has named it; runs nothing.

    Raises:
        CheckpointError: no code is named, or other code.
    """
    _trusted_sources(folder, model)


class PinnedCode:
    """A checkpoint's code, ready to be imported."""

    def __init__(
        self, folder: Path, model: ModelSpec, old_names: Mapping[str, Any] | None = None
    ) -> None:
        """Check that the code is the one that was named; runs nothing yet.

        Args:
            folder: the checkpoint.
            model: names the code that may be run.
            old_names: names of an older library that the code uses without importing them.

        Raises:
            CheckpointError: the code is not trusted.
        """
        sources, names = _trusted_sources(folder, model), old_names or {}
        self._folder = folder
        self._package = f"encodeonce_remote_{_digest({**sources, '': repr(sorted(names))})[:16]}"
        if not any(isinstance(f, _Finder) and f.package == self._package for f in sys.meta_path):
            sys.meta_path.append(_Finder(self._package, sources, names))

    def load(self, name: str) -> Any:
        """Return a class.

        Args:
            name: module and class, e.g. ``"visual.VisionTransformer"``.

        Raises:
            CheckpointError: the code cannot be run here, or has no such class.
        """
        module_name, _, class_name = name.rpartition(".")
        try:
            module = importlib.import_module(f"{self._package}.{module_name}")
            return getattr(module, class_name)
        except ModuleNotFoundError as error:
            raise CheckpointError(
                f"{self._folder}: the checkpoint's code imports {error.name!r}, which is not "
                "installed here"
            ) from error
        except (ImportError, AttributeError, NameError) as error:
            raise CheckpointError(
                f"{self._folder}: the checkpoint's code cannot be run with what is installed here "
                f"({type(error).__name__}: {error})"
            ) from error


class _Finder(MetaPathFinder, InspectLoader):
    """Finds the modules of one package in memory."""

    def __init__(
        self, package: str, sources: Mapping[str, str], old_names: Mapping[str, Any]
    ) -> None:
        self.package = package
        self._sources = {package: "", **{f"{package}.{name}": sources[name] for name in sources}}
        self._old_names = old_names

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in self._sources:
            return None
        return spec_from_loader(fullname, self, is_package=self.is_package(fullname))

    def is_package(self, fullname: str) -> bool:
        return fullname == self.package

    def get_source(self, fullname: str) -> str:
        return self._sources[fullname]

    def get_code(self, fullname: str) -> CodeType:
        # Under a name of its own, by which `inspect` asks this loader for the source: transformers'
        # docstring decorators do.
        return self.source_to_code(self.get_source(fullname), f"{fullname}.py")

    def exec_module(self, module: ModuleType) -> None:
        vars(module).update(self._old_names)
        super().exec_module(module)


def _trusted_sources(folder: Path, model: ModelSpec) -> dict[str, str]:
    sources, trusted = _sources(folder), model.trust_remote_code
    digest = _digest(sources)
    is_folder = named_folder(model.path) is not None
    pin = f"{{sha256: {digest}}}" if is_folder else "{revision: <the commit, 40 digits>}"
    if trusted is None:
        raise CheckpointError(
            f"model.path {model.path!r} can only be run with the Python code that comes with it. "
            "Read that code; if you trust it, name it in the run file: "
            f"model.trust_remote_code: {pin}"
        )
    if is_folder and trusted.sha256 is None:
        raise CheckpointError(
            "model.trust_remote_code: nobody can say which revision a folder is of. Pin its code "
            f"instead: {pin}"
        )
    if not is_folder and trusted.revision is None:
        raise CheckpointError(
            f"model.trust_remote_code: a hub repository is pinned by its commit: {pin}"
        )
    if is_folder and trusted.sha256 != digest:
        raise CheckpointError(
            f"model.trust_remote_code: the Python files in {folder} have the SHA-256 {digest}, not "
            f"{trusted.sha256}: they are not what was trusted."
        )
    return sources


def _sources(folder: Path) -> dict[str, str]:
    """Return the contents of a checkpoint's Python files by module name."""
    paths = sorted(folder.glob("*.py"))
    return {path.stem: path.read_text(encoding="utf-8") for path in paths}


def _digest(sources: Mapping[str, str]) -> str:
    digest = hashlib.sha256()
    for name, source in sources.items():
        content = hashlib.sha256(source.encode()).hexdigest()
        digest.update(f"{name!r} {content}\n".encode())
    return digest.hexdigest()
