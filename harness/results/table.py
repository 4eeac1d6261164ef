"""Records as a table: one row for each sample and variant, plain values in columns."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from encodeonce.harness.run.record import Record
from encodeonce.harness.run.variant import Variant

COLUMNS: Mapping[str, type] = {
    "benchmark": str,
    "sample": str,
    "group": str,
    "variant": str,
    "weights": str,
    "adapter": str,
    "kv": str,
    "question": str,
    "target": str,
    "text": str,
    "extracted": str,
    "score": float,
    "error": str,
    "num_visual_units": int,
    "num_prompt_tokens": int,
    "num_generated_tokens": int,
    "seconds": float,
    "full_kv_bytes": int,
    "kept_kv_bytes": int,
}
"""The columns and what they hold, or nothing. ``group`` is the cluster for intervals, ``seconds`` a
worker's; bytes of keys and values are there where the cache was compressed."""


def rows(records: Iterable[Record], adapters: Iterable[str] = ()) -> Iterator[dict[str, Any]]:
    """Yield a row for each record.

    Args:
        records: of a run.
        adapters: titles of the run's adapters.
    """
    titles = tuple(adapters)
    for record in records:
        variant = Variant.parse(record.variant, titles)
        error, kv = record.error, record.kv
        yield {
            **{name: getattr(record, name) for name in COLUMNS if hasattr(record, name)},
            "weights": variant.weights,
            "adapter": variant.adapter,
            "kv": variant.kv,
            "error": None if error is None else f"{error.type}: {error.message}",
            "seconds": sum(record.seconds.values()),
            "full_kv_bytes": None if kv is None else kv.full_bytes,
            "kept_kv_bytes": None if kv is None else kv.kept_bytes,
        }
