"""Reads answers to learn in place of a benchmark's targets: a small expert's, say."""

from collections.abc import Collection, Mapping
from pathlib import Path

from encodeonce.datasets.readers.questions import json_lines

Labels = Mapping[tuple[str, str], str]
"""Answers by (benchmark, sample id)."""


def read_labels(path: Path, benchmarks: Collection[str]) -> Labels:
    """Return the answers of a file.

    Args:
        path: JSON lines.
        benchmarks: titles of the run's.

    Raises:
        ValueError: a line is no label, or two are of one sample; names the line.
    """
    found: dict[tuple[str, str], str] = {}
    for row in json_lines(path):
        content = row.content
        if not isinstance(content, Mapping):
            raise ValueError(f'{row.place}: a label is {{"id": …, "answer": …}}; got {content!r}')
        only = next(iter(benchmarks)) if len(benchmarks) == 1 else None
        title, sample = content.get("benchmark", only), content.get("id")
        answer = content.get("answer")
        if title not in benchmarks:
            raise ValueError(
                f"{row.place}: 'benchmark' must be one of {', '.join(benchmarks)}; got {title!r}"
            )
        if not isinstance(sample, str) or not isinstance(answer, str) or not answer:
            raise ValueError(
                f"{row.place}: 'id' and 'answer' must be texts; got {sample!r} and {answer!r}"
            )
        if (title, sample) in found:
            raise ValueError(f"{row.place}: a second label of {sample!r}")
        found[title, sample] = answer
    return found
