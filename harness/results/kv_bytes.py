"""Adds up the measured bytes that compressed caches kept."""

from collections.abc import Sequence
from typing import Any

from encodeonce.harness.run.record import Record


def summarize_cache_size(records: Sequence[Record]) -> dict[str, Any] | None:
    """Add up `KVUse` over answers; None where the cache was not compressed.

    - ``num_answers``; ``kept_bytes``, ``kept_visual_bytes``, ``full_bytes``,
      ``full_visual_bytes``, ``end_bytes``, ``full_end_bytes``: totals, see `KVUse`.
    - ``keep_mean``: mean over answers of kept over full bytes.
    - ``keep``: total kept over total full bytes; ``keep_visual``, ``keep_text``: of visual tokens
      and of the others; ``keep_end``: of prompt and answer, when the answer ended. None where
      there is nothing to keep.
    - ``keep_by_layer``: mean over answers.
    """
    uses = [record.kv for record in records if record.kv is not None]
    if not uses:
        return None
    names = (
        "kept_bytes",
        "kept_visual_bytes",
        "full_bytes",
        "full_visual_bytes",
        "end_bytes",
        "full_end_bytes",
    )
    total = {name: sum(getattr(use, name) for use in uses) for name in names}
    layers = zip(*(use.keep_by_layer for use in uses), strict=True)
    return {
        "num_answers": len(uses),
        **total,
        "keep_mean": sum(use.keep for use in uses) / len(uses),
        "keep": total["kept_bytes"] / total["full_bytes"],
        "keep_visual": _ratio(total["kept_visual_bytes"], total["full_visual_bytes"]),
        "keep_text": _ratio(
            total["kept_bytes"] - total["kept_visual_bytes"],
            total["full_bytes"] - total["full_visual_bytes"],
        ),
        "keep_end": _ratio(total["end_bytes"], total["full_end_bytes"]),
        "keep_by_layer": [sum(layer) / len(uses) for layer in layers],
    }


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None
