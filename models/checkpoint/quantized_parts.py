"""Tell whether a part of a checkpoint, such as the tower, holds quantised weights."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors import safe_open

from encodeonce.models.checkpoint.files import CheckpointError, read_config
from encodeonce.models.checkpoint.loading_hooks import (
    STORED,
    ByTransformers,
    LoadingHooks,
    NotQuantised,
)

_PACKED = ("U8", "I8", "I32", "F8_E4M3", "F8_E5M2")
"""Types, in safetensors' words, that only quantised weights have."""
_LANGUAGE_ONLY = ("awq", "gptq")
"""Kinds that can be read for a language model's layers only."""


def part_quantization(folder: Path, parts: Sequence[str]) -> Mapping[str, Any] | None:
    """Return what config.json says about quantisation, if weights of the parts are quantised.

    Args:
        folder: the checkpoint.
        parts: last components of modules' names, such as ``"vision_tower"``.
    """
    stored = stored_settings(read_config(folder))
    return stored if stored is not None and _holds_packed(folder, parts) else None


def stored_settings(config: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return what a checkpoint's config.json says about quantised weights; None if nothing."""
    text = config.get("text_config")
    stored = config.get(STORED) or (text.get(STORED) if isinstance(text, Mapping) else None)
    return stored if stored is None else dict(stored)


def part_hooks(folder: Path, parts: Sequence[str]) -> LoadingHooks:
    """Return how the parts are loaded; what is not quantised needs no quantiser's library.

    Raises:
        CheckpointError: they are quantised in a way that is only read for language models.
    """
    stored = part_quantization(folder, parts)
    if stored is None:
        return NotQuantised()
    if stored["quant_method"] in _LANGUAGE_ONLY:
        raise CheckpointError(
            f"{folder}: {' and '.join(parts)} are quantised by {stored['quant_method']}, which is "
            "read for language models alone. Use a checkpoint whose vision side is left as it is."
        )
    return ByTransformers()


def _holds_packed(folder: Path, parts: Sequence[str]) -> bool:
    pattern = re.compile(rf"(?:^|\.)(?:{'|'.join(map(re.escape, parts))})\.")
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 - safe_open is not a mapping
                if pattern.search(name) and file.get_slice(name).get_dtype() in _PACKED:
                    return True
    return False
