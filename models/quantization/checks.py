"""Refuse, before anything is loaded, what weight methods cannot handle."""

import importlib.util
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn
from transformers import AutoModel

from encodeonce.models.checkpoint.decoder_layers import linears
from encodeonce.models.checkpoint.files import read_config
from encodeonce.models.checkpoint.quantized_parts import stored_settings
from encodeonce.models.family import find_family
from encodeonce.models.quantization.method import Candidate
from encodeonce.models.quantization.registry import WeightsError

_SHAPE = (
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "vocab_size",
)


def require(module: str, package: str, why: str) -> None:
    """Refuse a method whose library is not installed.

    Args:
        module: import name.
        package: what to pip install.
        why: the method, or the checkpoint's format, for the message.
    """
    if importlib.util.find_spec(module) is None:
        raise WeightsError(f"{why} needs {package}, which is not installed: pip install {package}")


def stored_quantization(candidate: Candidate) -> Mapping[str, Any] | None:
    """Return what the source's config.json says about quantised weights; None if nothing."""
    family, _ = find_family(candidate.model.model_copy(update={"path": str(candidate.source)}))
    return stored_settings(read_config(family.language_folder(candidate.source)))


def refuse_path(candidate: Candidate, method: str) -> None:
    """Refuse a ``path`` for a method that quantises the model itself, or not at all."""
    if candidate.path is not None:
        raise WeightsError(
            f"weights {method!r} takes the weights from model.path; got path {candidate.path!r}. "
            "For a checkpoint that is quantised already, write method: checkpoint (or awq, rtn)."
        )


def refuse_quantised(candidate: Candidate, method: str) -> None:
    """Refuse to quantise what is quantised already."""
    stored = stored_quantization(candidate)
    if stored is not None:
        raise WeightsError(
            f"weights {method!r}: {candidate.source} is quantised already "
            f"({stored.get('quant_method')}), and quantising twice measures neither. Give "
            "model.path the unquantised model, or write weights: none for it as it is."
        )


def refuse_other_model(candidate: Candidate) -> None:
    """Refuse a checkpoint whose language model has another shape than the model's."""
    configs = [
        find_family(candidate.model.model_copy(update={"path": str(path)}))[0].language_config(path)
        for path in (candidate.folder, candidate.source)
    ]
    ours, theirs = ([getattr(config, name, None) for name in _SHAPE] for config in configs)
    for name, one, other in zip(_SHAPE, ours, theirs, strict=True):
        if one != other:
            raise WeightsError(
                f"weights path {candidate.path!r} is no variant of {candidate.model.path!r}: "
                f"{name} is {other} there and {one} in the model"
            )


def layer_widths(candidate: Candidate) -> Iterator[tuple[str, int, int]]:
    """Yield (name, inputs, outputs) of each linear layer in the language model's first layer."""
    family, folder = find_family(candidate.model)
    config = family.language_config(folder)
    with torch.device("meta"):
        language: Any = AutoModel.from_config(config)
    layer: nn.Module = language.layers[0]
    for name, linear in linears(layer).items():
        yield name, linear.in_features, linear.out_features
