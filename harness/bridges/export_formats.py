"""Finds the formats of other programs that a run's records can be written in.

The folder `export/` is the registry: each file there writes one format.
"""

import importlib
from pathlib import Path
from typing import Protocol

from encodeonce.harness.results.export import ExportError, VariantExport


class Export(Protocol):
    """Writes the files of one variant."""

    def __call__(self, run: VariantExport, folder: Path) -> list[Path]:
        """Write into ``folder``, replacing earlier files, and return the files.

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
    write: Export = module.write
    return write
