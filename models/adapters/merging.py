"""An adapter added to the weights themselves, always from a pristine copy.

Adding and subtracting in place drifts: in bfloat16, after one cycle, by about a hundredth of the
logits. Here what was there before is put back bit for bit. The weights that come of merging are
rounded to the model's precision, so an answer is not the one of the same adapter beside it.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from encodeonce.models.adapters.checkpoint import Adapter, LowRank
from encodeonce.models.adapters.lora_config import AdapterError
from encodeonce.models.adapters.sites import Sites

_HOW = "Leave adapters beside the weights (mode: unmerged)"


class MergedWeights:
    """A model whose weights are the base's, or one adapter's.

    Attributes:
        merged: number of the adapter that is in the weights; None for the base.
    """

    def __init__(
        self, adapters: Sequence[Adapter], model: Any, projector: nn.Module | None = None
    ) -> None:
        """Copy the weights of every linear layer that an adapter adapts.

        Args:
            adapters: numbered in order.
            model: of transformers, without its tower. Nothing else may hold its weights.
            projector: see `Sites`.

        Raises:
            AdapterError: an adapter does not fit the model, its weights are quantised, or a layer
                shares them with another.
        """
        self.merged: int | None = None
        sites = Sites(model, projector)
        for adapter in adapters:
            adapter.refuse_activated(f"it cannot be merged. {_HOW}")
        self._products = [sites.find(adapter) for adapter in adapters]
        self._changed: dict[nn.Module, None] = {}
        self._pristine: dict[nn.Module, tuple[torch.Tensor, nn.Parameter | None]] = {}
        embeddings = model.get_input_embeddings()
        for products in self._products:
            for name, (module, _) in products.items():
                if module not in self._pristine:
                    _check(name, module, embeddings)
                    weight: Any = module.weight
                    bias: Any = module.bias
                    self._pristine[module] = weight.detach().clone(), bias

    @property
    def nbytes(self) -> int:
        """Size of the copies."""
        return sum(weight.nbytes for weight, _ in self._pristine.values())

    def switch(self, number: int | None) -> None:
        """Have an adapter in the weights in place of what was there; None for the base.

        Raises:
            ValueError: there is no adapter of this number.
        """
        if number is not None and not 0 <= number < len(self._products):
            raise ValueError(f"adapter {number} of {len(self._products)}; numbered from 0")
        if number == self.merged and (number is not None or not self._changed):
            return
        new = {} if number is None else dict(self._products[number].values())
        self.merged = None  # an exception leaves no adapter's name on half of its weights
        for module in [*self._changed, *(one for one in new if one not in self._changed)]:
            self._changed.setdefault(module)
            self._put(module, new.get(module))
        self._changed = dict.fromkeys(new)
        self.merged = number

    def _put(self, module: Any, product: LowRank | None) -> None:
        weight, bias = self._pristine[module]
        with torch.no_grad():
            if product is None:
                module.weight.copy_(weight)
                module.bias = bias
                return
            b, a = (one.to(weight.device) for one in (product.b, product.a))
            if weight.dtype == torch.float32:
                torch.addmm(weight, b, a, alpha=product.scaling, out=module.weight.data)
            else:
                module.weight.copy_(torch.addmm(weight.float(), b, a, alpha=product.scaling))
            added = None
            if product.bias is not None:
                added = product.scaling * product.bias.to(weight)
            module.bias = bias if added is None else nn.Parameter(_plus(bias, added), False)


def _plus(bias: torch.Tensor | None, added: torch.Tensor) -> torch.Tensor:
    return added if bias is None else bias.detach() + added


def _check(name: str, module: Any, embeddings: Any) -> None:
    weight = module.weight
    is_plain = type(module) is nn.Linear and type(weight.data) is torch.Tensor
    if not is_plain or not weight.is_floating_point():
        raise AdapterError(
            f"{name} is a {type(module).__name__} with quantised weights: merging an adapter would "
            f"quantise them again, which is another model. {_HOW}"
        )
    if embeddings is not None and weight is embeddings.weight:
        raise AdapterError(
            f"{name} shares its weights with the embeddings, which the adapter does not change. "
            f"{_HOW}"
        )
