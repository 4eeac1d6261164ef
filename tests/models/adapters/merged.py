"""The other way to compute an adapter: its product added to a copy of the weights."""

import copy
from typing import Any

import torch
from torch import nn

from encodeonce.models.adapters.checkpoint import Adapter
from encodeonce.models.adapters.sites import Sites


def merged(decoder: Any, adapter: Adapter) -> Any:
    """Return a copy of a decoder without adapters beside it, with one in its weights."""
    found = copy.copy(decoder)
    found._model = copy.deepcopy(decoder.model)
    projector = copy.deepcopy(decoder.projector)
    if decoder.projector is not None:  # it may be a part of the model
        for name, part in decoder.model.named_modules():
            if part is decoder.projector:
                projector = found._model.get_submodule(name)
    if hasattr(found, "_opener"):
        found._opener = copy.copy(decoder._opener)
        found._opener.model, found._opener.projector = found._model, projector
    else:
        found._projector = projector
    found.adapters = None
    for model in (found._model, projector):
        for part in () if model is None else model.modules():
            part._forward_hooks.clear()
    for module, product in Sites(found._model, projector).find(adapter).values():
        added = product.scaling * (product.b.double() @ product.a.double())
        weight: Any = module.weight
        total = (weight.double() + added).to(weight.dtype)
        module.weight = nn.Parameter(total, requires_grad=False)
        if product.bias is not None:
            before = torch.zeros_like(product.bias) if module.bias is None else module.bias
            module.bias = nn.Parameter(before + product.scaling * product.bias, requires_grad=False)
    return found
