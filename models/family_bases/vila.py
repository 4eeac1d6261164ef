"""Checkpoints of the VILA line: a part each in ``vision_tower/``, ``mm_projector/`` and ``llm/``.

The tower is a SigLIP, whose last layer is not used.
"""

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import SiglipVisionConfig, SiglipVisionModel

from encodeonce.models.checkpoint.files import (
    CheckpointError,
    load_config,
    read_settings,
    weights_digest,
)
from encodeonce.models.checkpoint.parts import PenultimateLayer, load_part, part_weights, settled
from encodeonce.models.family_bases.assembled import AssembledFamily
from encodeonce.models.language.chat import load_tokenizer
from encodeonce.models.spec import ModelSpec, Tap

HALF = (0.5, 0.5, 0.5)
"""Mean and standard deviation of every SigLIP's pixels."""


class VilaLayout(AssembledFamily):
    """Three folders, with a part in each."""

    @abstractmethod
    def layers(self, weights: Mapping[str, torch.Tensor]) -> nn.Module:
        """Return the projector with the weights ``layers.N.{weight,bias}``."""

    def tower(self, folder: Path, model: ModelSpec) -> nn.Module:
        """Load the tower up to its last layer."""
        weights = part_weights(folder / "vision_tower")
        siglip = load_part(SiglipVisionModel, tower_config(folder), weights, model)
        return PenultimateLayer(siglip, num_skipped=0)

    def projector(self, folder: Path, model: ModelSpec) -> nn.Module:
        """Load the projector."""
        return settled(self.layers(part_weights(folder / "mm_projector")), model)

    def language_folder(self, folder: Path) -> Path:
        """Return ``llm/``."""
        return folder / "llm"

    def tokenizer(self, folder: Path) -> Any:
        """Load the language model's tokenizer."""
        return load_tokenizer(folder / "llm")

    def weights_sha256(self, folder: Path, tap: Tap) -> str:
        """Return the digest of the tower (and projector)."""
        tower = weights_digest(folder / "vision_tower", ["vision_model"])
        if tap == "tower":
            return tower
        return f"{tower}+{weights_digest(folder / 'mm_projector', ['layers'])}"

    def tap(self, folder: Path) -> Mapping[str, Any]:
        """Return the layer, and that all patches are kept."""
        return {"layer": -2, "select": "full"}


def tower_config(folder: Path) -> Any:
    """Return the configuration of a checkpoint's SigLIP."""
    return load_config(folder / "vision_tower", SiglipVisionConfig)


def settings(folder: Path, part: str = "") -> dict[str, Any]:
    """Return the settings of a checkpoint, or of one of its parts.

    Raises:
        CheckpointError: it has no such part.
    """
    path = folder / part / "config.json"
    if not path.is_file():
        raise CheckpointError(
            f"{folder} has no {part}/config.json, so it is not laid out as VILA's checkpoints are. "
            "Of LLaVA, use the conversions to transformers' format (llava-hf)."
        )
    return read_settings(path)


def projector_type(folder: Path) -> str:
    """Return what a checkpoint calls its projector."""
    return str(settings(folder, "mm_projector").get("mm_projector_type"))


def blocks(features: torch.Tensor, side: int) -> torch.Tensor:
    """Gather each ``side`` by ``side`` patches: (N, rows, columns, side² * width).

    A grid that does not divide is filled up with zeros on the right and below.

    Args:
        features: (N, height * width, D) of a square grid.
        side: of a block, patches.
    """
    length = round(features.shape[1] ** 0.5)
    missing = -length % side
    grid = features.unflatten(1, (length, length))
    grid = nn.functional.pad(grid, (0, 0, 0, missing, 0, missing))
    count = grid.shape[1] // side
    cut = grid.unflatten(2, (count, side)).unflatten(1, (count, side))
    return cut.permute(0, 1, 3, 2, 4, 5).flatten(3)  # N, row, column, row and column inside, width
