"""Finds the formats of other programs that a run's records can be written in.

The folder `export/` is the registry: each file there writes one format.
"""

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from encodeonce.harness.results.export import ExportError, VariantExport


class Export(Protocol):
    """Writes the files of a run. `write_all` of a module; or `write`, of one variant, is enough."""

    def __call__(self, runs: Sequence[VariantExport], folder: Path) -> list[Path]:
        """Write into ``folder``, replacing earlier files, and return the files.

        Args:
            runs: the variants of one run.
            folder: is made if it is not there.

        Raises:
            ExportError: the format cannot represent the run, or a library is missing.
        """
        ...


def formats() -> dict[str, str]:
    """Return the formats by their names for users, with the names of their modules."""
    stems = sorted(path.stem for path in (Path(__file__).parent / "export").glob("*.py"))
    return {stem.replace("_", "-"): stem for stem in stems}


def find_export(name: str) -> Export:
    """Return the writer of a format.

    Raises:
        ExportError: there is no such format.
    """
    known = formats()
    if name not in known:
        raise ExportError(f"--to {name!r}: no such format; known: {', '.join(known)}")
    module = importlib.import_module(f"encodeonce.harness.bridges.export.{known[name]}")
    if hasattr(module, "write_all"):
        write_all: Export = module.write_all
        return write_all
    return lambda runs, folder: [path for run in runs for path in module.write(run, folder)]
