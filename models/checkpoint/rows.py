"""Whether a model treats the rows of a batch independently of each other.

Answering together relies on it, up to rounding. bitsandbytes' LLM.int8() breaks it: which columns
hold outliers, and are multiplied in float16, is decided over all rows at once.
"""

import sys
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

T = TypeVar("T")


def mixes_rows(model: Any) -> bool:
    """Return whether a row's result depends, beyond rounding, on the rows beside it."""
    bitsandbytes = sys.modules.get("bitsandbytes")
    if bitsandbytes is None:
        return False
    return any(
        isinstance(module, bitsandbytes.nn.Linear8bitLt) and module.state.threshold > 0
        for module in model.modules()
    )


def companies(model: Any, rows: Sequence[T]) -> Iterator[Sequence[T]]:
    """Yield rows that may be computed as one batch: all, or each alone if the model mixes them."""
    if mixes_rows(model):
        yield from ([row] for row in rows)
    elif rows:
        yield rows
