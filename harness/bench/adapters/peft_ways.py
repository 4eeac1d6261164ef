"""peft's own ways, as peers. peft need not be installed."""

import copy
from collections.abc import Sequence
from typing import Any

from encodeonce.harness.bench.adapters.ways import Numbers, Way
from encodeonce.harness.serving.adapters.peft_model import adapted_by_peft, shared_copy
from encodeonce.models.adapters.spec import AdapterSpec

NAMES = ("peft, set_adapter", "peft, merge and unmerge", "peft, adapter_names")
"""Sequential, merged and mixed."""


def peft_ways(model: Any, specs: Sequence[AdapterSpec]) -> list[Way]:
    """Return peft's ways for a model.

    Args:
        model: of transformers. It stays as it is: two of the ways share its weights, the one that
            merges in place has a copy.
        specs: folders of adapters.
    """
    beside = adapted_by_peft(shared_copy(model), specs)
    merging = adapted_by_peft(copy.deepcopy(model), specs)

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
