"""Summarises a run's folder: everything that reports are made of, as plain JSON values."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from encodeonce.cache_store import durable
from encodeonce.datasets.registry import load_benchmark
from encodeonce.datasets.sample import Benchmark, BenchmarkError
from encodeonce.harness.results.gallery import gallery
from encodeonce.harness.results.judged import summarize_verdicts
from encodeonce.harness.results.matrix import reference_variant, summarize_variants
from encodeonce.harness.results.official_files import official_files
from encodeonce.harness.results.summary import (
    Summary,
    compare_answers,
    summarize_evaluation,
    summarize_precompute,
)
from encodeonce.harness.results.timeline import Step, hit_timeline
from encodeonce.harness.run.after.verdict import VerdictRecord, read_verdicts
from encodeonce.harness.run.folder import RunFolder
from encodeonce.harness.run.output_error import writing
from encodeonce.harness.run.record import CacheUse, Record
from encodeonce.harness.run.variant import Variant, adapters_in, variants_of

logger = logging.getLogger(__name__)


def summarize_run(folder: RunFolder) -> Summary:
    """Return the results of a run so far.

    Raises:
        RunFolderError: this is not a run's folder.
    """
    return summarize(read_results(folder))


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """What a run's folder holds, read once."""

    description: Mapping[str, Any]
    """Content of run.json."""
    outcomes: Sequence[Mapping[str, Any]]
    """Of precompute."""
    records: Sequence[Record]
    uncached: Sequence[Record]
    verdicts: Sequence[VerdictRecord]
    benchmarks: Mapping[str, Benchmark]
    """By their names in records."""


def read_results(folder: RunFolder) -> Results:
    """Read a run's folder.

    Raises:
        RunFolderError: this is not a run's folder.
    """
    description = folder.description()
    uncached = folder.records("uncached")
    return Results(
        description=description,
        outcomes=folder.precompute_outcomes(),
        # Plain transformers' first logits are all that these are compared with.
        records=folder.records("records", with_logits=bool(uncached)),
        uncached=uncached,
        verdicts=read_verdicts(folder.path),
        benchmarks=_benchmarks(description),
    )


def summarize(results: Results) -> Summary:
    """Return the results of a run as plain JSON values."""
    description, outcomes = results.description, results.outcomes
    records, uncached, benchmarks = results.records, results.uncached, results.benchmarks
    variants = _answered_variants(description, records)
    shown = reference_variant(variants).name
    return {
        "run": description,
        "precompute": summarize_precompute(outcomes) if outcomes else None,
        "evaluation": summarize_evaluation(records, benchmarks, shown) if records else None,
        "variants": summarize_variants(records, variants, benchmarks) if records else None,
        "uncached": summarize_evaluation(uncached, benchmarks) if uncached else None,
        "comparison": compare_answers(records, uncached) if uncached else None,
        "judged": summarize_verdicts(results.verdicts, records, benchmarks, shown),
        "timeline": hit_timeline(
            {"precompute": list(_precompute_steps(outcomes)), "evaluate": records}
        ),
        "gallery": gallery(records, uncached, shown),
    }


def write_official_files(folder: RunFolder, results: Results) -> Path | None:
    """Write the files for official evaluators; return their folder if there are any.

    Args:
        folder: of the run.
        results: what it holds.

    Raises:
        OutputError: they cannot be written.
    """
    target = folder.path / "official"
    files = official_files(results.records, results.benchmarks)
    for name, text in files.items():
        path = target / name
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            durable.replace(text.encode("utf-8"), path, path.parent)
    return target if files else None


def _answered_variants(description: Mapping[str, Any], records: Sequence[Record]) -> list[Variant]:
    """Return the variants that have records, in the order they were added to the run."""
    meanings = description.get("variants", {})
    known, adapters = variants_of(meanings), adapters_in(meanings)
    names = dict.fromkeys(record.variant for record in records)
    present = {Variant.parse(name, adapters): None for name in names}
    return [variant for variant in dict.fromkeys([*known, *present]) if variant in present]


def _benchmarks(description: Mapping[str, Any]) -> dict[str, Benchmark]:
    """Return the run's benchmarks by their names in records."""
    found = {}
    for spec in description["config"]["benchmarks"]:
        try:
            found[spec["label"] or spec["name"]] = load_benchmark(spec["name"], spec["options"])
        except BenchmarkError as error:  # a run of an older version can still be reported
            logger.warning("%s: the benchmark's own scores are left out: %s", spec["name"], error)
    return found


def _precompute_steps(outcomes: Sequence[Mapping[str, Any]]) -> Iterator[Step]:
    for outcome in outcomes:
        if outcome["status"] == "ok":
            use = CacheUse(**outcome["value"]["cache"])
            yield Step(finished_at=outcome.get("finished_at"), cache=use)
