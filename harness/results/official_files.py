"""Makes answer files in the form that each benchmark's official evaluator takes."""

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePath

from encodeonce.datasets.sample import Benchmark, Exporting
from encodeonce.harness.results.summary import scored_answers
from encodeonce.harness.run.record import Record


def official_files(
    records: Sequence[Record], benchmarks: Mapping[str, Benchmark]
) -> dict[PurePath, str]:
    """Return texts by their paths, ``BENCHMARK/VARIANT/NAME``; ``benchmarks`` by name in records.

    Samples without an answer are missing from the files.
    """
    files = {}
    for name, variant in dict.fromkeys((record.benchmark, record.variant) for record in records):
        benchmark = benchmarks.get(name)
        if not isinstance(benchmark, Exporting):
            continue
        answers = scored_answers(
            [r for r in records if (r.benchmark, r.variant) == (name, variant)]
        )
        folder = PurePath(_file_name(name), _file_name(variant))
        if answers:
            found = benchmark.official_files(answers)
            files.update({folder / file: text for file, text in found.items()})
    return files


def _file_name(words: str) -> str:
    """Return a user's words without the characters that have a meaning in paths."""
    return re.sub(r"[^\w+=-]", "_", words)
