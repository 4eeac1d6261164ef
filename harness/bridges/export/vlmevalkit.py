"""Writes VLMEvalKit's prediction files where ``run.py --mode eval`` and ``--reuse`` expect them.

``{model}/T{day}-{time}/{model}_{benchmark}.xlsx``: the benchmark's table with the column
``prediction``. A sample without an answer holds the text by which the kit recognises failures.
"""

import importlib
import re
from pathlib import Path
from types import ModuleType
from typing import Any

from encodeonce.harness.bridges.vlmevalkit.table import FAILED, table_rows
from encodeonce.harness.results.export import (
    AnsweredSample,
    ExportedBenchmark,
    ExportError,
    VariantExport,
    file_name,
)

MAX_CHARACTERS = 32_767
"""Most characters in a cell (source: Excel specifications and limits)."""

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0, and so the format, cannot hold."""


def write(run: VariantExport, folder: Path) -> list[Path]:
    """Write a sheet for each benchmark.

    Raises:
        ExportError: openpyxl is missing, an answer is no text, or a text is too long for a cell.
    """
    try:
        openpyxl = importlib.import_module("openpyxl")
    except ImportError as error:
        raise ExportError(
            "VLMEvalKit's files are xlsx, which openpyxl writes; type: pip install openpyxl"
        ) from error
    target = folder / run.name / f"T{run.written:%Y%m%d-%H%M%S}"
    written = []
    for benchmark in run.benchmarks:
        if benchmark.answered:
            path = target / f"{run.name}_{file_name(benchmark.spec.title)}.xlsx"
            path.parent.mkdir(parents=True, exist_ok=True)
            _write_sheet(openpyxl, benchmark, path)
            written.append(path)
    return written


def _write_sheet(openpyxl: ModuleType, benchmark: ExportedBenchmark, path: Path) -> None:
    rows = _rows(benchmark)
    workbook = openpyxl.Workbook(write_only=True)
    sheet = workbook.create_sheet()
    sheet.append([_fitting(name) for name in rows[0]])
    for content in rows:
        cells = []
        for value in content.values():
            cell = openpyxl.cell.WriteOnlyCell(sheet, value=value)
            if isinstance(value, str):
                cell.data_type = "s"  # "=3" is an answer, not a formula
            cells.append(cell)
        sheet.append(cells)
    workbook.save(path)


def _rows(benchmark: ExportedBenchmark) -> list[dict[str, Any]]:
    """Return the table with the predictions, as cells can hold it."""
    rows = table_rows([one.sample for one in benchmark.answered])
    for content, one in zip(rows, benchmark.answered, strict=True):
        content |= {"index": one.index, "prediction": _prediction(benchmark, one)}
        where = f"{benchmark.spec.title}/{one.sample.id}"
        for column, value in content.items():
            if isinstance(value, str):
                content[column] = _cell_text(value, where, column)
    return rows


def _prediction(benchmark: ExportedBenchmark, one: AnsweredSample) -> str:
    record = one.record
    if record.error is not None:
        return f"{FAILED} {record.error.type}: {record.error.message}"[:MAX_CHARACTERS]
    if record.text is None:
        raise ExportError(
            f"{benchmark.spec.title}/{one.sample.id} was scored by {benchmark.spec.scoring!r} and "
            "has no text; VLMEvalKit's files hold answers in words"
        )
    return record.text


def _cell_text(text: str, where: str, column: str) -> str:
    # openpyxl would cut a long text off without a word.
    if len(text) > MAX_CHARACTERS:
        raise ExportError(
            f"{where}: {column!r} has {len(text):,} characters; a cell of an xlsx file holds "
            f"{MAX_CHARACTERS:,}. The other format holds texts of any length: --to lmms-eval"
        )
    return _fitting(text)


def _fitting(text: str) -> str:
    return _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text)
