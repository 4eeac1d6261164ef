"""peft's own model around a decoder's: what `peft_mixed` and `bench adapters` run.

The only file that imports peft, which need not be installed.
"""

import copy
import importlib
import importlib.util
import warnings
from collections.abc import Sequence
from typing import Any

import torch

from encodeonce.models.adapters.checkpoint import Adapter, adapter_folder
from encodeonce.models.adapters.lora_config import AdapterError
from encodeonce.models.adapters.spec import AdapterSpec
from encodeonce.models.language.adapting import BASE, adapted_rows

INSTALL = 'pip install "encodeonce[adapters]"'
_THE_BASE = "__base__"
"""What peft calls a row under no adapter."""


def has_peft() -> bool:
    """Return whether peft is installed."""
    return importlib.util.find_spec("peft") is not None


def shared_copy(model: Any) -> Any:
    """Return a model with modules of its own and the same tensors."""
    own = {id(one): one for one in (*model.parameters(), *model.buffers())}
    return copy.deepcopy(model, own)


def adapted_by_peft(model: Any, specs: Sequence[AdapterSpec]) -> Any:
    """Return a model with peft's layers in place of its own; adapters are called by number."""
    peft = importlib.import_module("peft")
    folders = [str(adapter_folder(spec)) for spec in specs]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what a fresh environment lacks; none is about results
        found = peft.PeftModel.from_pretrained(model, folders[0], adapter_name="0")
        for number, folder in enumerate(folders[1:], start=1):
            found.load_adapter(folder, adapter_name=str(number))
    return found.eval()


def check_names(model: Any, adapters: Sequence[Adapter]) -> None:
    """Refuse adapters of a model whose layers have other names: peft would pass over them.

    Raises:
        AdapterError: names a layer.
    """
    names = {name for name, _ in model.named_modules()}
    for adapter in adapters:
        adapter.refuse_activated("peft would lose it after the prompt. Leave policy peft_mixed out")
        if unknown := [path for path in adapter.products if path not in names]:
            raise AdapterError(
                f"{adapter.file} adapts {unknown[0]}, which has another name in this decoder; peft "
                "finds layers by their names alone. Leave policy peft_mixed out, or use random "
                "adapters"
            )


def following(adapted: Any) -> Any:
    """Return the model inside peft's, of which every pass goes through peft's mixed batches.

    A row is under the adapter that `models.language.adapting` says. peft hangs its hooks on every
    layer before each pass, and does not take them off after one that ends by an exception, as that
    of a prefix does: it never hears of these.

    Args:
        adapted: of `adapted_by_peft`.
    """
    model = adapted.get_base_model()
    plain = model.forward
    raised: list[Exception] = []

    def inner(*args: Any, **kwargs: Any) -> Any:
        try:
            return plain(*args, **kwargs)
        except Exception as error:
            raised.append(error)
            return None

    def forward(*args: Any, **kwargs: Any) -> Any:
        names = _names(args, kwargs)
        model.forward = inner
        try:
            found = adapted(*args, adapter_names=names, **kwargs)
        finally:
            model.forward = forward
        if raised:
            raise raised.pop()
        return found

    model.forward = forward
    return model


def _names(args: Sequence[Any], kwargs: dict[str, Any]) -> list[str]:
    """Return peft's name of the adapter of each row of a pass."""
    states = (*args, kwargs.get("input_ids"), kwargs.get("inputs_embeds"))
    num_rows = next(len(one) for one in states if isinstance(one, torch.Tensor))
    rows = adapted_rows()
    numbers = [BASE] if rows is None else rows.numbers
    if rows is None or rows.number is not None:
        numbers = numbers * num_rows
    return [_THE_BASE if one == BASE else str(one) for one in numbers]
