"""Writes a data set for the Hugging Face Hub: ``data/{variant}.parquet``, and a card.

`load_dataset` reads the folder as it is; each variant is a configuration of its own.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow
import yaml
from pyarrow import parquet

from encodeonce.harness.results.export import VariantExport, file_names
from encodeonce.harness.results.facets import estimate
from encodeonce.harness.results.table import COLUMNS
from encodeonce.harness.run.record import Record

_TYPES = {str: pyarrow.string(), float: pyarrow.float64(), int: pyarrow.int64()}


def write_all(runs: Sequence[VariantExport], folder: Path) -> list[Path]:
    """Write a table for each variant, and the card that lists them."""
    names = file_names(run.variant for run in runs)
    (folder / "data").mkdir(parents=True, exist_ok=True)
    schema = pyarrow.schema([(name, _TYPES[kind]) for name, kind in COLUMNS.items()])
    written = []
    for run in runs:
        path = folder / "data" / f"{names[run.variant]}.parquet"
        table = pyarrow.Table.from_pylist(list(run.rows()), schema)
        parquet.write_table(table, path)
        written.append(path)
    card = folder / "README.md"
    card.write_text(_card(runs, names), encoding="utf-8")
    return [card, *written]


def _card(runs: Sequence[VariantExport], names: Mapping[str, str]) -> str:
    config = runs[0].config
    head: dict[str, Any] = {
        "pretty_name": f"Answers of {config.model.path}",
        "tags": ["encodeonce", "evaluation"],
        "task_categories": ["visual-question-answering"],
        "configs": [
            {
                "config_name": names[run.variant],
                "data_files": [{"split": "test", "path": f"data/{names[run.variant]}.parquet"}],
            }
            for run in runs
        ],
    }
    benchmarks = ", ".join(spec.title for spec in config.benchmarks)
    heads = ("configuration", "variant", "benchmark", "mean score", "scored")
    table = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    table += [
        f"| `{names[run.variant]}` | {_cell(run.variant)} | {_cell(name)} | {mean} | {scored} |"
        for run in runs
        for name, mean, scored in _scores(run)
    ]
    return "\n".join(
        [
            "---",
            yaml.safe_dump(head, sort_keys=False, allow_unicode=True).rstrip(),
            "---",
            "",
            f"# Answers of {config.model.path}",
            "",
            f"One row for each question of {benchmarks}: the question, the target, the model's "
            "text, its score and what it cost. Each configuration is a variant of the weights and "
            "of the KV cache.",
            "",
            *table,
            "",
            "Questions and targets are the benchmarks' own and under their licences: see to it "
            "that you may publish them. Written by encodeonce; the run's fingerprint is "
            f"`{runs[0].fingerprint}`.",
            "",
        ]
    )


def _scores(run: VariantExport) -> list[tuple[str, str, str]]:
    found = []
    for part in run.benchmarks:
        records: list[Record] = [one.record for one in part.answered]
        result = estimate(records)
        mean = f"{result['accuracy']['mean']:.4f}" if result["accuracy"] else "-"
        found.append((part.spec.title, mean, f"{result['num_scored']} of {result['num_samples']}"))
    return found


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
