"""Reading sheets back."""

from pathlib import Path
from typing import Any

import openpyxl


def read_xlsx(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a sheet by the names in its first row."""
    workbook = openpyxl.load_workbook(path)
    heads, *rows = workbook.active.iter_rows(values_only=True)
    return [dict(zip(heads, row, strict=True)) for row in rows]
