"""Writes a table of text, ``{model}__{variant}.csv``: a row for each sample, UTF-8 with a head."""

import csv
from pathlib import Path

from encodeonce.harness.results.export import VariantExport
from encodeonce.harness.results.table import COLUMNS


def write(run: VariantExport, folder: Path) -> list[Path]:
    """Write the table; what is not there is an empty cell."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{run.name}.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(run.rows())
    return [path]
