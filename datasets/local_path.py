"""Paths as people write them in options."""

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator


def _absolute(path: Path) -> Path:
    return path.expanduser().absolute()


# Workers, which score answers, may have other working directories.
LocalPath = Annotated[Path, AfterValidator(_absolute)]
"""``~`` is the home folder; relative paths are relative to the working directory."""
