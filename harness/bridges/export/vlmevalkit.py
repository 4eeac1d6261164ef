"""Writes VLMEvalKit's prediction files where ``run.py --mode eval`` and ``--reuse`` expect them.

``{model}/T{day}-{time}/{model}_{benchmark}.xlsx``: the benchmark's table with the column
``prediction``. A sample without an answer holds the text by which the kit recognises failures.
"""

import importlib
import re
from pathlib import Path
from types import ModuleType

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

_NOT_XML = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")
"""Control characters that the format cannot hold."""


def write(run: VariantExport, folder: Path) -> list[Path]:
    """Write a sheet for each benchmark.

    Raises:
        ExportError: openpyxl is missing, or an answer is not text, or too long for a cell.
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
    rows = table_rows([one.sample for one in benchmark.answered])
    for content, one in zip(rows, benchmark.answered, strict=True):
        content |= {"index": one.index, "prediction": _prediction(benchmark, one)}
    workbook = openpyxl.Workbook(write_only=True)
    sheet = workbook.create_sheet()
    sheet.append(list(rows[0]))
    for content in rows:
        cells = []
        for value in content.values():
            cell = openpyxl.cell.WriteOnlyCell(sheet, value=value)
            if isinstance(value, str):
                cell.data_type = "s"  # "=3" is an answer, not a formula
            cells.append(cell)
        sheet.append(cells)
    workbook.save(path)


def _prediction(benchmark: ExportedBenchmark, one: AnsweredSample) -> str:
    record = one.record
    where = f"{benchmark.spec.title}/{one.sample.id}"
    if record.error is not None:
        return _fitting(f"{FAILED} {record.error.type}: {record.error.message}"[:MAX_CHARACTERS])
    if record.text is None:
        raise ExportError(
            f"{where} was scored by {benchmark.spec.scoring!r} and has no text; VLMEvalKit's files "
            "hold answers in words"
        )
    if len(record.text) > MAX_CHARACTERS:
        raise ExportError(
            f"{where}: an answer of {len(record.text):,} characters; a cell of an xlsx file holds "
            f"{MAX_CHARACTERS:,}"
        )
    return _fitting(record.text)


def _fitting(text: str) -> str:
    return _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text)
