"""Reads a run for export: its records with samples and prompts, variant by variant.

`bridges/export_formats.py` lists the formats that they can be written in.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path, PurePath
from typing import Any

from encodeonce.datasets.sample import BenchmarkError, Sample
from encodeonce.harness.results.table import rows
from encodeonce.harness.run.after.verdict import VerdictRecord, latest, read_verdicts
from encodeonce.harness.run.config import BenchmarkSpec, RunConfig
from encodeonce.harness.run.folder import RunFolder
from encodeonce.harness.run.plan import make_plan
from encodeonce.harness.run.record import Record
from encodeonce.harness.run.stored import questions_of
from encodeonce.harness.run.variant import adapters_in


class ExportError(ValueError):
    """A run cannot be exported, or not to this format."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnsweredSample:
    """A sample with its record."""

    index: int
    """Position in the benchmark, from 0, by which other programs identify samples."""
    sample: Sample
    prompt: str
    record: Record


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportedBenchmark:
    """A benchmark under one variant."""

    spec: BenchmarkSpec
    num_samples: int
    """Number of all the benchmark's samples, asked or not."""
    answered: tuple[AnsweredSample, ...]
    """The samples that have a record, in the benchmark's order; some records may be errors."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantExport:
    """The records of one variant of a run."""

    config: RunConfig
    fingerprint: str
    variant: str
    name: str
    """Model and variant, in a form suited to file names."""
    written: datetime
    """When the last record was written, UTC."""
    benchmarks: tuple[ExportedBenchmark, ...]
    adapters: tuple[str, ...] = ()
    """Titles of the run's adapters, by which variants' names are read."""
    verdicts: Mapping[tuple[str, str, str], VerdictRecord] = field(default_factory=dict)
    """Of the judge that was asked last, about all variants; by `Record.key`."""

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield a table's rows, in the columns of `table.py`."""
        return rows(self.records(), self.adapters, self.verdicts)

    def records(self) -> list[Record]:
        """Return all records, benchmark by benchmark."""
        return [one.record for benchmark in self.benchmarks for one in benchmark.answered]


def read_run(folder: Path) -> list[VariantExport]:
    """Return what a run has to export, one item per variant.

    Raises:
        RunFolderError: this is not a run's folder.
        DamagedFile: its verdicts cannot be read.
        ExportError: it has no records, or its questions are missing or have changed.
    """
    run = RunFolder(folder)
    description, records = run.description(), run.records("records")
    if not records:
        raise ExportError(f"{folder} has no records yet; type: encodeonce eval RUN.yaml")
    config = questions_of(description["config"])
    samples = _samples(config, description["identity"]["questions"])
    modified_s = (folder / "records.jsonl").stat().st_mtime
    names = file_names(dict.fromkeys(record.variant for record in records))
    model = "__".join(PurePath(config.model.path).parts[-2:])
    verdicts = latest(read_verdicts(folder), records)
    return [
        VariantExport(
            config=config,
            fingerprint=run.fingerprint,
            variant=variant,
            name=f"{file_name(model)}__{name}",
            adapters=adapters_in(description.get("variants", {})),
            verdicts=verdicts,
            written=datetime.fromtimestamp(modified_s, UTC),
            benchmarks=tuple(
                _benchmark(spec, samples[spec.title], records, variant)
                for spec in config.benchmarks
            ),
        )
        for variant, name in names.items()
    ]


def file_names(texts: Iterable[str]) -> dict[str, str]:
    """Return file names for texts; different texts get different names."""
    names = {text: file_name(text) for text in texts}
    count = Counter(names.values())
    return {
        text: name
        if count[name] == 1
        else f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
        for text, name in names.items()
    }


def file_name(text: str) -> str:
    """Return a text with the characters replaced that are unsafe in file names."""
    return re.sub(r"[^\w.+=-]+", "_", text).strip("._") or "_"


def _samples(config: RunConfig, asked_sha256: str) -> dict[str, list[tuple[Sample, str]]]:
    """Return the samples of each benchmark with their prompts, by title."""
    try:
        plan = make_plan(config)
    except BenchmarkError as error:
        raise ExportError(
            f"the questions and their options are needed, and cannot be read: {error} "
            "(paths in a run file are relative to the folder that the run was started in)"
        ) from error
    if plan.samples_sha256 != asked_sha256:
        raise ExportError("the benchmarks' questions are not those that the run answered")
    return {
        title: [(sample, benchmark.prompt(sample)) for sample in benchmark.samples()]
        for title, benchmark in plan.benchmarks.items()
    }


def _benchmark(
    spec: BenchmarkSpec,
    samples: Sequence[tuple[Sample, str]],
    records: Sequence[Record],
    variant: str,
) -> ExportedBenchmark:
    ours = {
        record.sample: record
        for record in records
        if (record.benchmark, record.variant) == (spec.title, variant)
    }
    answered = tuple(
        AnsweredSample(index=index, sample=sample, prompt=prompt, record=ours[sample.id])
        for index, (sample, prompt) in enumerate(samples)
        if sample.id in ours
    )
    return ExportedBenchmark(spec=spec, num_samples=len(samples), answered=answered)
