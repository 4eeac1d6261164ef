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
from encodeonce.models.language.adapting import AdaptedRows, Index, adapted_rows, using


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
            kind: how rows under different adapters are computed (`operators.KINDS`). None: by
                shapes alone, so that a decoded row's bits depend on itself (`operators.usual`).
            dispatch: chooses in place of ``kind`` what was fastest; bits then depend on who is
                beside a row.

        Raises:
            AdapterError: two have the same title, or one does not fit the model.
        """
        self.titles = tuple(adapter.title for adapter in adapters)
        self.heads = tuple(adapter.head for adapter in adapters)
        if repeated := sorted({one for one in self.titles if self.titles.count(one) > 1}):
            raise AdapterError(
                f"two adapters are called {repeated[0]!r}; give one of them another label"
            )
        self._kind, self._dispatch = kind, dispatch
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
        return [(one.a.shape[1], one.a.shape[2], one.b.shape[1]) for one in self._stacks.values()]

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

    def attach(self) -> None:
        """Let the model compute adapters again, after `detach`."""
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
        if rows is None or rows.is_base:
            return None
        self._check(rows)
        x: torch.Tensor = args[0]
        if rows.number is not None:
            return single(stack, rows.number, x.float(), y)
        if len(rows.shape) == 2 and is_head and x.dim() == 3 and x.shape[1] < rows.shape[1]:
            rows = rows.last(x.shape[1])  # logits of the last tokens alone are asked for
        if x.dim() != 3 or rows.shape != x.shape[: len(rows.shape)]:
            raise ValueError(
                f"adapters of {rows.shape} rows (and tokens) were given for states "
                f"{tuple(x.shape)}: this model rearranges rows on the way, so they cannot be told "
                "apart; give one adapter for all of them"
            )
        shaped = (len(rows.numbers), -1)
        x, flat = x.reshape(*shaped, x.shape[-1]), y.reshape(*shaped, y.shape[-1])
        kind = self._kind_for(stack, rows, x)
        return KINDS[kind](stack, rows, x.float(), flat).reshape(y.shape)

    def _kind_for(self, stack: Stack, rows: AdaptedRows, x: torch.Tensor) -> Kind:
        """Return the way to compute rows x (N, T, I)."""
        if self._dispatch is not None:
            _, rank, inputs = stack.a.shape
            shape = (x.shape[0] * x.shape[1], len(rows.segments), rank, inputs, stack.b.shape[1])
            return next(one for one in self._dispatch.choose(shape) if offers(one, stack))
        kind = self._kind or usual(stack, x.shape[1])
        return kind if offers(kind, stack) else "segment"


def _by_module(
    adapters: Sequence[Adapter], sites: Sites
) -> list[tuple[str, nn.Module, dict[int, LowRank]]]:
    """Return each adapted module with what adapters add to it, by their numbers."""
    found: dict[str, tuple[nn.Module, dict[int, LowRank]]] = {}
    for number, adapter in enumerate(adapters):
        for name, (module, product) in sites.find(adapter).items():
            found.setdefault(name, (module, {}))[1][number] = product
    return [(name, module, products) for name, (module, products) in found.items()]


def _device(module: nn.Module) -> torch.device:
    """Return where a module's weights are."""
    tensors = [*module.parameters(), *module.buffers()]
    return tensors[0].device if tensors else torch.device("cpu")
