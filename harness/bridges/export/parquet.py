"""Writes a table with typed columns, ``{model}__{variant}.parquet``: a row for each sample."""

from pathlib import Path

import pyarrow
from pyarrow import parquet

from encodeonce.harness.results.export import VariantExport
from encodeonce.harness.results.table import COLUMNS

_TYPES = {str: pyarrow.string(), float: pyarrow.float64(), int: pyarrow.int64()}


def write(run: VariantExport, folder: Path) -> list[Path]:
    """Write the table; what is not there is null."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{run.name}.parquet"
    schema = pyarrow.schema([(name, _TYPES[kind]) for name, kind in COLUMNS.items()])
    table = pyarrow.Table.from_pylist(list(run.rows()), schema)
    parquet.write_table(table, path)
    return [path]
