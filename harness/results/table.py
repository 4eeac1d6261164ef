"""Records as a table: one row for each sample and variant, plain values in columns."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from encodeonce.harness.run.after.verdict import VerdictRecord
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
    "judged": float,
    "judge": str,
    "error": str,
    "num_visual_units": int,
    "num_prompt_tokens": int,
    "num_generated_tokens": int,
    "seconds": float,
    "full_kv_bytes": int,
    "kept_kv_bytes": int,
}
"""The columns and what they hold, or nothing. ``group`` is the cluster for intervals, ``judged``
what the model in ``judge`` gave the answer, from 0 to 1, ``seconds`` a worker's; bytes of keys and
values are there where the cache was compressed."""


def rows(
    records: Iterable[Record],
    adapters: Iterable[str] = (),
    verdicts: Mapping[tuple[str, str, str], VerdictRecord] = {},
) -> Iterator[dict[str, Any]]:
    """Yield a row for each record.

    Args:
        records: of a run.
        adapters: titles of the run's adapters.
        verdicts: one judge's, by `Record.key`.
    """
    titles = tuple(adapters)
    for record in records:
        variant = Variant.parse(record.variant, titles)
        error, kv, verdict = record.error, record.kv, verdicts.get(record.key)
        yield {
            **{name: getattr(record, name) for name in COLUMNS if hasattr(record, name)},
            "weights": variant.weights,
            "adapter": variant.adapter,
            "kv": variant.kv,
            "judged": None if verdict is None else verdict.value,
            "judge": None if verdict is None else verdict.judge.model,
            "error": None if error is None else f"{error.type}: {error.message}",
            "seconds": sum(record.seconds.values()),
            "full_kv_bytes": None if kv is None else kv.full_bytes,
            "kept_kv_bytes": None if kv is None else kv.kept_bytes,
        }
