"""Ways to answer under several adapters: what a batch holds, and what is done before a pass.

Shapes: N rows.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from encodeonce.models.adapters.bank import AdapterBank
from encodeonce.models.adapters.merging import MergedWeights
from encodeonce.models.language.adapting import AdaptedRows

Numbers = Sequence[int]
"""The adapter of each row, (N,)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """A way to answer under several adapters."""

    name: str
    call: Callable[..., Any]
    """The model's forward; what `arguments` returns is passed to it as well."""
    is_mixed: bool
    """Whether a batch may hold rows under different adapters."""
    switch: Callable[[Numbers], None] = lambda numbers: None
    """Gets the model ready for a batch; its time counts."""
    under: Callable[[Numbers], AbstractContextManager[Any]] = lambda numbers: nullcontext()
    """Is entered around every pass of a batch."""
    arguments: Callable[[Numbers], dict[str, Any]] = lambda numbers: {}
    enter: Callable[[], None] = lambda: None
    """Before the first batch; not timed."""
    leave: Callable[[], None] = lambda: None
    """After the last batch: the model is the base again."""
    is_base: bool = False


def base(model: Any) -> Way:
    """Return the floor: the same batches without any adapter."""
    return Way(name="base, no adapter", call=model, is_mixed=True, is_base=True)


def copy_merge(model: Any, weights: MergedWeights) -> Way:
    """Return merging from a pristine copy, one adapter after another."""
    return Way(
        name="copy-merge",
        call=model,
        is_mixed=False,
        switch=lambda numbers: weights.switch(numbers[0]),
        leave=lambda: weights.switch(None),
    )


def ours(model: Any, bank: AdapterBank, name: str) -> Way:
    """Return rows of different adapters in one batch, computed as a bank does."""

    @lru_cache(maxsize=1)  # as the engine's: made anew when somebody joins or leaves
    def rows(numbers: tuple[int, ...]) -> AdaptedRows:
        return AdaptedRows(numbers)

    return Way(
        name=name,
        call=model,
        is_mixed=True,
        under=lambda numbers: bank.using(rows(tuple(numbers))),
        enter=bank.attach,
        leave=bank.detach,
    )


def batches(way: Way, num_adapters: int, num_samples: int, size: int) -> Iterator[Numbers]:
    """Yield the adapters of each batch's rows: as few batches as the way allows.

    Args:
        way: the way. One that mixes adapters has full batches, adapter after adapter; another one
            has a partial batch at each adapter's end.
        num_adapters: numbered from 0.
        num_samples: asked under each adapter.
        size: most rows of a batch.
    """
    by_adapter = [[number] * num_samples for number in range(num_adapters)]
    for numbers in [sum(by_adapter, [])] if way.is_mixed else by_adapter:
        for start in range(0, len(numbers), size):
            yield numbers[start : start + size]
