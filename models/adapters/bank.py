"""Several LoRA adapters beside the linear layers of one decoder, each row under its own.

By forward hooks: the layers stay what they are, plain or quantised, and so do the bits of rows that
are under no adapter.

Shapes: N rows, T tokens of each, I inputs, O outputs.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from encodeonce.models.adapters.checkpoint import Adapter, LowRank
from encodeonce.models.adapters.dispatch import Dispatch
from encodeonce.models.adapters.lora_config import AdapterError
from encodeonce.models.adapters.operators import KINDS, Kind, Stack, offers, single, stacked, usual
from encodeonce.models.adapters.sites import HEAD, Sites
from encodeonce.models.language.adapting import (
    BASE,
    AdaptedRows,
    Index,
    adapted_rows,
    using,
)


class AdapterBank:
    """Adapters in memory, attached to a model."""

    def __init__(
        self,
        adapters: Sequence[Adapter],
        model: Any,
        projector: nn.Module | None = None,
        *,
        kind: Kind | None = None,
        dispatch: Dispatch | None = None,
    ) -> None:
        """Attach adapters, which are numbered in order. As long as none is used, nothing changes.

        Factors are held and multiplied in float32, as peft does: y + B A x is added in float32 and
        rounded once.

        Args:
            adapters: with different titles.
            model: of transformers, without its tower.
            projector: see `Sites`.
            kind: how rows under different adapters are computed (`operators.KINDS`); can be set
                later. None: as `operators.usual` says, so that a decoded row's bits depend on
                itself.
            dispatch: chooses in place of ``kind`` what was fastest; bits then depend on who is
                beside a row.

        Raises:
            AdapterError: two have the same title, or one does not fit the model.
            ValueError: there is no such kind.
        """
        if kind is not None and kind not in KINDS:
            raise ValueError(f"kind: must be one of {', '.join(KINDS)}; got {kind!r}")
        self.titles = tuple(adapter.title for adapter in adapters)
        self.heads = tuple(adapter.head for adapter in adapters)
        self.activations = tuple(adapter.activation for adapter in adapters)
        if repeated := sorted({one for one in self.titles if self.titles.count(one) > 1}):
            raise AdapterError(
                f"two adapters are called {repeated[0]!r}; give one of them another label"
            )
        self.kind, self._dispatch = kind, dispatch
        self._merged: int | None = None
        self._stacks: dict[str, Stack] = {}
        self._modules: dict[str, nn.Module] = {}
        self._handles: list[RemovableHandle] = []
        for name, module, products in _by_module(adapters, Sites(model, projector)):
            self._stacks[name] = stacked(products, _device(module))
            self._modules[name] = module
        self.attach()

    @property
    def nbytes(self) -> int:
        """Size of all factors, bytes."""
        return sum(stack.nbytes for stack in self._stacks.values())

    @property
    def widths(self) -> list[tuple[int, int, int]]:
        """(R, I, O) of each adapted module."""
        return [one.widths for one in self._stacks.values()]

    @property
    def module_names(self) -> tuple[str, ...]:
        """The adapted modules."""
        return tuple(self._stacks)

    def number(self, title: str) -> int:
        """Return an adapter's number.

        Raises:
            AdapterError: there is none of this title.
        """
        if title not in self.titles:
            raise AdapterError(f"no adapter {title!r}; there are {', '.join(self.titles)}")
        return self.titles.index(title)

    def using(self, index: Index | AdaptedRows) -> AbstractContextManager[None]:
        """Let passes inside the block be under adapters.

        Args:
            index: the number of one adapter for everything; or of each row (N,); or of each row's
                tokens (N, T). -1 is the base. What follows from it is computed once for all blocks
                that are given the same `AdaptedRows`.

        Raises:
            ValueError: an adapter has not this number.
        """
        rows = index if isinstance(index, AdaptedRows) else AdaptedRows(index)
        self._check(rows)
        return using(rows)

    def attach(self, merged: int | None = None) -> None:
        """Let the model compute adapters again, after `detach`.

        Args:
            merged: the adapter that is in the weights meanwhile (`MergedWeights`), whose product is
                taken off whatever is under another one, or under none. The difference is exact up
                to rounding: W x is that of rounded sums, and products of its size cancel.
        """
        self._merged = merged
        if not self._handles:
            for name, module in self._modules.items():
                hook = partial(self._add, self._stacks[name], name == HEAD)
                self._handles.append(module.register_forward_hook(hook))

    def detach(self) -> None:
        """Leave the model as it was."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def _check(self, rows: AdaptedRows) -> None:
        if rows.highest >= len(self.titles):
            raise ValueError(
                f"adapter {rows.highest} of {len(self.titles)}; they are numbered from 0, and -1 "
                "is the base"
            )

    def _add(
        self, stack: Stack, is_head: bool, module: nn.Module, args: Any, y: torch.Tensor
    ) -> torch.Tensor | None:
        """Return a module's output with its rows' products added; None leaves it as it is."""
        rows = adapted_rows()
        if self._merged is not None:
            rows = rows or AdaptedRows(BASE)
        elif rows is None or rows.is_base:
            return None
        self._check(rows)
        x: torch.Tensor = args[0]
        if len(rows.shape) == 2 and is_head and x.dim() == 3 and x.shape[1] < rows.shape[1]:
            rows = rows.last(x.shape[1])  # logits of the last tokens alone are asked for
        if rows.number is None and (x.dim() != 3 or rows.shape != x.shape[: len(rows.shape)]):
            raise ValueError(
                f"adapters of {rows.shape} rows (and tokens) were given for states "
                f"{tuple(x.shape)}. Give as many as there are rows; or, where the model rearranges "
                "rows on the way, so that they cannot be told apart, one adapter for all of them"
            )
        if self._merged is None:
            return self._plus(stack, rows, x.float(), y)
        return self._instead(self._merged, stack, rows, x.float(), y)

    def _plus(
        self, stack: Stack, rows: AdaptedRows, x: torch.Tensor, y: torch.Tensor
    ) -> torch.Tensor:
        """Return y with the products of x, float32, added."""
        if rows.number is not None:
            return single(stack, rows.number, x, y)
        flat_x, flat_y = _by_number(rows, x), _by_number(rows, y).contiguous()
        # Tokens side by side have the same adapter mostly, so that there are few segments.
        kind = "segment" if len(rows.shape) == 2 else self._kind_for(stack, rows, flat_x)
        return KINDS[kind](stack, rows, flat_x, flat_y).reshape(y.shape)

    def _instead(
        self, merged: int, stack: Stack, rows: AdaptedRows, x: torch.Tensor, y: torch.Tensor
    ) -> torch.Tensor | None:
        """Return y + B_j A_j x - B_m A_m x, with adapter m in the weights and rows under others j.

        Added in float32 and rounded once. VaLoRA's mixture mode (Mi et al., EuroSys 2025, arXiv
        2411.00915, section 4.4).
        """
        at = rows.others(merged, x.device)
        if not len(at):
            return None
        found = self._plus(stack, rows.without(merged), x, y.float())
        place = stack.place.get(merged)
        if place is not None and rows.number is not None:
            found = found - stack.product(place, x)
        elif place is not None:
            product = stack.product(place, _by_number(rows, x)[at])
            flat = _by_number(rows, found).index_add(0, at, product, alpha=-1)
            found = flat.reshape(found.shape)
        return found.to(y.dtype)

    def _kind_for(self, stack: Stack, rows: AdaptedRows, x: torch.Tensor) -> Kind:
        """Return the way to compute rows x (N, T, I)."""
        if self._dispatch is not None:
            shape = (x.shape[0] * x.shape[1], len(rows.segments), *stack.widths)
            return next(one for one in self._dispatch.choose(shape) if offers(one, stack))
        kind = self.kind or usual(stack, rows, x.shape[1])
        return kind if offers(kind, stack) else "segment"


def _by_number(rows: AdaptedRows, states: torch.Tensor) -> torch.Tensor:
    """Return states (N, T, ·) as one row for each of ``rows.numbers``."""
    return states.reshape(len(rows.numbers), -1, states.shape[-1])


def _by_module(
    adapters: Sequence[Adapter], sites: Sites
) -> list[tuple[str, nn.Module, dict[int, LowRank]]]:
    """Return each adapted module with what adapters add to it, by their numbers."""
    found: dict[str, tuple[nn.Module, dict[int, LowRank]]] = {}
    for number, adapter in enumerate(adapters):
        for name, (module, product) in sites.find(adapter).items():
            if adapter.activation is not None and sites.is_before_text(module):
                adapter.refuse_activated(f"it has no effect on {name}. Leave its weights out")
            found.setdefault(name, (module, {}))[1][number] = product
    return [(name, module, products) for name, (module, products) in found.items()]


def _device(module: nn.Module) -> torch.device:
    """Return where a module's weights are."""
    tensors = [*module.parameters(), *module.buffers()]
    return tensors[0].device if tensors else torch.device("cpu")
