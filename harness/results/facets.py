"""Mean scores of parts of a benchmark: by one of its tags, and by two at once."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from encodeonce.harness.results.intervals import clustered_mean
from encodeonce.harness.run.record import Record

_NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?")


def estimate(records: Sequence[Record]) -> dict[str, Any]:
    """Return how many samples were scored, and their mean score with its interval."""
    scored = [record for record in records if record.score is not None]
    mean = clustered_mean(
        [float(record.score or 0.0) for record in scored], [record.group for record in scored]
    )
    return {
        "num_samples": len(records),
        "num_scored": len(scored),
        "accuracy": asdict(mean) if mean else None,
    }


def by_tag(records: Sequence[Record]) -> dict[str, Any]:
    """Return the `estimate` of each tag's values; a tag that all share says nothing."""
    facets: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        for facet in record.tags.items():
            facets.setdefault(facet, []).append(record)
    distinct = Counter(tag for tag, _ in facets)
    return {
        f"{tag}: {value}": estimate(facets[tag, value])
        for tag, value in sorted(facets, key=lambda facet: (facet[0], _in_order(facet[1])))
        if distinct[tag] > 1
    }


def grid(records: Sequence[Record], tags: tuple[str, str]) -> dict[str, Any]:
    """Return the `estimate` of each pair of two tags' values, in the order of their numbers.

    Args:
        records: of one variant. Those without one of the tags are left out.
        tags: of the rows, and of the columns.

    Returns:
        ``row_tag`` and ``column_tag``; ``rows`` and ``columns``, their values; ``cells``, a list
        for each row, of estimates, or None where there is no record.
    """
    parts: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        if all(tag in record.tags for tag in tags):
            parts.setdefault((record.tags[tags[0]], record.tags[tags[1]]), []).append(record)
    rows, columns = (
        sorted({pair[number] for pair in parts}, key=_in_order) for number in range(len(tags))
    )
    return {
        "row_tag": tags[0],
        "column_tag": tags[1],
        "rows": rows,
        "columns": columns,
        "cells": [
            [estimate(parts[row, column]) if (row, column) in parts else None for column in columns]
            for row in rows
        ],
    }


def _in_order(value: str) -> tuple[float, str]:
    """Return what values are sorted by: the number they begin with, if they do; else the text."""
    number = _NUMBER.match(value)
    return (float(number[0]) if number else float("inf"), value)
