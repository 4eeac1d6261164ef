"""Loads models from checkpoints, whole or without some of their parts."""

import copy
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.utils import logging

from encodeonce.models.checkpoint.files import CheckpointError, device, load_config, refusing
from encodeonce.models.checkpoint.integrity import not_finite
from encodeonce.models.checkpoint.loading_hooks import LoadingHooks
from encodeonce.models.spec import ModelSpec


def load_without(
    model_class: type[PreTrainedModel],
    parts: Sequence[str],
    folder: Path,
    spec: ModelSpec,
    hooks: LoadingHooks | None = None,
) -> Any:
    """Load a checkpoint except for some of its submodules, which become `nn.Identity`.

    The weights of the parts left out are neither read nor allocated.

    Args:
        model_class: transformers class of the whole model.
        parts: dotted names of submodules to leave out, e.g. ``"model.vision_tower"``.
        folder: the checkpoint.
        spec: precision, device and attention.
        hooks: how weights are held; by default as they are stored.

    Raises:
        CheckpointError: the checkpoint lacks weights of the parts that are kept.
    """
    config = load_config(folder, model_class.config_class)
    return load_partial(model_class, parts, folder, config, None, spec, hooks or LoadingHooks())


def load_partial(
    model_class: Any,
    parts: Sequence[str],
    folder: Path | None,
    config: Any,
    weights: Mapping[str, torch.Tensor] | None,
    spec: ModelSpec,
    hooks: LoadingHooks,
) -> Any:
    """Load a model without some parts, from a folder or from named weights.

    Raises:
        CheckpointError: weights are missing, have other shapes than config.json says, or hold NaN.
    """
    where = device(spec)
    partial: Any = _partial(model_class, parts, hooks)
    config = hooks.config(config)

    def skeleton() -> nn.Module:
        with torch.device("meta"):
            empty: nn.Module = partial(copy.deepcopy(config))
        return empty

    with without_bars():
        model, info = partial.from_pretrained(
            folder,
            config=config,
            state_dict=None if weights is None else dict(weights),
            dtype=getattr(torch, spec.dtype),
            attn_implementation=spec.attention,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are refused below, by name
            local_files_only=True,
            **hooks.arguments(skeleton, where),
        )
    name = str(folder or model_class.__name__)
    check_loaded(name, info)
    check_finite(name, model, spec)
    hooks.finish(model, where)
    return model.eval().requires_grad_(False)


def load_whole(model_class: Any, folder: Path, spec: ModelSpec) -> Any:
    """Load a whole checkpoint as transformers does, ready for inference.

    Args:
        model_class: of transformers, or one of its Auto classes.
        folder: the checkpoint.
        spec: precision, device and attention.

    Raises:
        CheckpointError: as `load_partial`.
    """
    with without_bars():
        model, info = model_class.from_pretrained(
            folder,
            dtype=getattr(torch, spec.dtype),
            attn_implementation=spec.attention,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            local_files_only=True,
        )
    check_loaded(str(folder), info)
    check_finite(str(folder), model, spec)
    return model.eval().to(device(spec))


@contextmanager
def without_bars() -> Iterator[None]:
    """Hide transformers' bars, which break up a stage's own."""
    was_enabled = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if was_enabled:
            logging.enable_progress_bar()


def check_loaded(name: str, info: Mapping[str, Any]) -> None:
    """Refuse a model some of whose weights are not the checkpoint's."""
    if info["missing_keys"]:
        missing = sorted(info["missing_keys"])
        raise CheckpointError(
            f"{name} lacks {len(missing)} weights, first {missing[0]}: they would be random"
        )
    if info["mismatched_keys"]:
        weight, stored, wanted = sorted(info["mismatched_keys"])[0]
        raise CheckpointError(
            f"{name}: {weight} is stored as {tuple(stored)}, and config.json asks for "
            f"{tuple(wanted)}: they are not of one model. Download config.json and weights together"
        )


def check_finite(name: str, model: nn.Module, spec: ModelSpec) -> None:
    """Refuse weights that are not numbers: every answer would be an end of text, and scored.

    Args:
        name: of the checkpoint, for the message.
        model: with weights.
        spec: gives the precision, for the message.
    """
    if (weight := not_finite(model)) is not None:
        advice = (
            "Values beyond 65504 do not fit float16: write model.dtype: bfloat16 or float32"
            if spec.dtype == "float16"
            else "The file is damaged, or training diverged: download or export it again"
        )
        raise CheckpointError(f"{name}: {weight} holds NaN or infinity as {spec.dtype}. {advice}")


def _partial(
    model_class: type[PreTrainedModel], parts: Sequence[str], hooks: LoadingHooks
) -> type[PreTrainedModel]:
    def init(self: PreTrainedModel, config: Any) -> None:
        with refusing(Path(config.name_or_path or "the checkpoint") / "config.json"):
            model_class.__init__(self, config)  # on the meta device inside from_pretrained: free
        for part in parts:
            self.set_submodule(part, nn.Identity())
        hooks.outline(self)

    def save_pretrained(self: PreTrainedModel, *args: Any, **kwargs: Any) -> None:
        raise CheckpointError(
            "a model that was loaded in parts, or quantised while it was loaded, is not saved: "
            "what is written would lack weights, or hold them as a kernel wants them (bitsandbytes "
            "on a CPU rearranges them when it first computes). `encodeonce quantize` writes "
            "quantised checkpoints."
        )

    prefixes = tuple(f"{part}." for part in parts)
    tied = {
        name: source
        for name, source in (getattr(model_class, "_tied_weights_keys", None) or {}).items()
        if not name.startswith(prefixes) and not source.startswith(prefixes)
    }
    attributes = {
        "__init__": init,
        "save_pretrained": save_pretrained,
        "whole_class": model_class,
        # transformers knows which checkpoint keys to rename by a class's name and module.
        "__module__": model_class.__module__,
        "_tied_weights_keys": tied,
        "_keys_to_ignore_on_load_unexpected": [
            *(f"^{re.escape(prefix)}" for prefix in prefixes),
            *hooks.ignored,
        ],
    }
    return type(model_class.__name__, (model_class,), attributes)
