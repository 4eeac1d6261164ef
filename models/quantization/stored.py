"""Load checkpoints that are quantised already: each kind by what can load it."""

from typing import Any

from encodeonce.models.checkpoint.loading_hooks import STORED, ByTransformers, LoadingHooks
from encodeonce.models.quantization.bnb import Bnb, require_bnb
from encodeonce.models.quantization.checks import require, stored_quantization
from encodeonce.models.quantization.method import Candidate
from encodeonce.models.quantization.packed import Kernel, PackedHooks
from encodeonce.models.quantization.registry import WeightsError

_READ_HERE = ("awq", "gptq")
"""Kinds with one of our own `layouts`: they need no library and no GPU."""
_BY_TRANSFORMERS = {
    "bitsandbytes": ("bitsandbytes", "bitsandbytes"),
    "compressed-tensors": ("compressed_tensors", "compressed-tensors"),
    "torchao": ("torchao", "torchao"),
}
"""Kinds that transformers loads: import name and package of the library."""


def check_stored(candidate: Candidate) -> None:
    """Refuse a quantised checkpoint that cannot be loaded here.

    Raises:
        WeightsError: its kind is not known, or a library or kernel is missing.
    """
    stored = stored_quantization(candidate)
    if stored is None:
        return
    method = str(stored.get("quant_method"))
    why = f"{candidate.source}, quantised by {method},"
    if method in _READ_HERE:
        PackedHooks(candidate, stored, Kernel.DENSE)
    elif method not in _BY_TRANSFORMERS:
        allowed = ", ".join(sorted((*_READ_HERE, *_BY_TRANSFORMERS)))
        raise WeightsError(f"{why} is of a kind that is not handled. Handled: {allowed}.")
    else:
        require(*_BY_TRANSFORMERS[method], why)
        if method == "bitsandbytes":
            require_bnb(candidate, why)


def stored_hooks(candidate: Candidate) -> LoadingHooks:
    """Return how the weights of a checkpoint are loaded, whether it is quantised or not."""
    stored = stored_quantization(candidate)
    if stored is None:
        return LoadingHooks()
    if stored["quant_method"] in _READ_HERE:
        return PackedHooks(candidate, stored, Kernel.DENSE)
    if stored["quant_method"] == "bitsandbytes":
        return Bnb()
    if stored["quant_method"] == "compressed-tensors":
        return _CompressedTensors()
    return ByTransformers()


class _CompressedTensors(ByTransformers):
    """Dense from the start where only weights are quantised.

    Otherwise compressed-tensors would make them dense in the first forward, and would not load
    zeros off the middle of the grid (0.20).
    """

    def config(self, config: Any) -> Any:
        """Return the configuration with ``dequantize`` set, if activations are not quantised."""
        for part in (config, config.get_text_config()):
            stored = getattr(part, STORED, None)
            if stored is not None:
                groups = stored.get("config_groups", {}).values()
                stored["dequantize"] = not any(group.get("input_activations") for group in groups)
        return config
