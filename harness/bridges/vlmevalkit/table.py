"""Makes rows of VLMEvalKit's tables from samples: one row each, options in columns by letter."""

import string
from collections.abc import Sequence
from typing import Any

from encodeonce.datasets.sample import Sample

FAILED = "Failed to obtain answer via API."
"""The text that marks a failed answer for the kit (``FAIL_MSG`` in its inference.py)."""


def table_rows(samples: Sequence[Sample]) -> list[dict[str, Any]]:
    """Return a row for each sample, all with the same columns.

    ``index`` is the position in the benchmark: the kit sorts by it, finds answers again by it,
    and its reader would turn an id that looks like a number into one.
    """
    num_choices = max((len(sample.choices) for sample in samples), default=0)
    tags = dict.fromkeys(tag for sample in samples for tag in sample.tags)
    rows = []
    for index, sample in enumerate(samples):
        choices = dict.fromkeys(string.ascii_uppercase[:num_choices])
        choices.update(zip(choices, sample.choices, strict=False))
        row = {
            "index": index,
            "sample": sample.id,
            "video": " ".join(ref.path for ref in sample.media),
            "question": sample.question,
            **choices,
            "answer": sample.target,
        }
        rows.append(row | {tag: sample.tags.get(tag) for tag in tags if tag not in row})
    return rows
