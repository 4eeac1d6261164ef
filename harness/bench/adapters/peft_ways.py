"""peft's own ways, as peers. The only file here that imports peft, which need not be installed."""

import copy
import importlib
import importlib.util
import warnings
from collections.abc import Sequence
from typing import Any

from encodeonce.harness.bench.adapters.ways import Numbers, Way
from encodeonce.models.adapters.spec import AdapterSpec

INSTALL = 'pip install "encodeonce[adapters]"'
NAMES = ("peft, set_adapter", "peft, merge and unmerge", "peft, adapter_names")
"""Sequential, merged and mixed."""


def has_peft() -> bool:
    """Return whether peft is installed."""
    return importlib.util.find_spec("peft") is not None


def peft_ways(model: Any, specs: Sequence[AdapterSpec]) -> list[Way]:
    """Return peft's ways for a model.

    Args:
        model: of transformers. It stays as it is: two of the ways share its weights, the one that
            merges in place has a copy.
        specs: folders of adapters.
    """
    own = {id(one): one for one in (*model.parameters(), *model.buffers())}
    beside = _loaded(copy.deepcopy(model, own), specs)
    merging = _loaded(copy.deepcopy(model), specs)

    def set_adapter(numbers: Numbers) -> None:
        beside.set_adapter(str(numbers[0]))

    def unmerge() -> None:
        if any(layer.merged for layer in merging.modules() if hasattr(layer, "merged_adapters")):
            merging.unmerge_adapter()

    def merge(numbers: Numbers) -> None:
        unmerge()
        merging.merge_adapter([str(numbers[0])])

    sequential, merged, mixed = NAMES
    return [
        Way(name=sequential, call=beside, is_mixed=False, switch=set_adapter),
        Way(
            name=merged,
            call=merging,
            is_mixed=False,
            switch=merge,
            leave=unmerge,
        ),
        Way(
            name=mixed,
            call=beside,
            is_mixed=True,
            arguments=lambda numbers: {"adapter_names": [str(number) for number in numbers]},
        ),
    ]


def _loaded(model: Any, specs: Sequence[AdapterSpec]) -> Any:
    """Return a model with peft's layers in place of its own."""
    peft = importlib.import_module("peft")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what a fresh environment lacks; none is about results
        found = peft.PeftModel.from_pretrained(model, specs[0].path, adapter_name="0")
        for number, spec in enumerate(specs[1:], start=1):
            found.load_adapter(spec.path, adapter_name=str(number))
    return found.eval()
