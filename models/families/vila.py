"""VILA1.5 from its original checkpoint: SigLIP, a two by two projector, Llama.

Lin et al., VILA: On Pre-training for Visual Language Models, 2023 (arXiv:2312.07533). The folders
``vision_tower/``, ``mm_projector/`` and ``llm/`` each hold a part. A frame of a video is shown to
the model as one image.

This is the model of May 2024 (VILA's repository, branch vila1.5): its projector puts tokens column
by column, where the code from NVILA on, under the same name, puts them row by row; and an image is
followed by a line end without a begin-of-text token, where later code tokenises the line end alone.

Written from the layout and formulas and tried on random weights. Not tried: the released weights.
"""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM, SiglipVisionConfig, SiglipVisionModel
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

from encodeonce.models.assembled import AssembledFamily, AssembledVision
from encodeonce.models.chat import load_tokenizer
from encodeonce.models.checkpoint import CheckpointError, weights_digest
from encodeonce.models.parts import PenultimateLayer, load_part, part_weights, settled
from encodeonce.models.preprocessing import SingleImages
from encodeonce.models.shown import Projected
from encodeonce.models.spec import ModelSpec, Tap, VisionSpec
from encodeonce.models.splicing import Piece

_VICUNA_VOCABULARY = 32_064
"""Llama 2's 32,000 tokens and room for some added ones."""
_SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives "
    "helpful, detailed, and polite answers to the user's questions. USER: "
)


class Vila(AssembledFamily):
    """An image a frame, each with a line end behind it."""

    def vision(self, folder: Path, model: ModelSpec, vision: VisionSpec) -> AssembledVision:
        """Describe the vision side of a checkpoint.

        Raises:
            CheckpointError: pictures are cut into scales or tiles, as NVILA's are.
        """
        _refuse_other_layouts(folder)
        return super().vision(folder, model, vision)

    def preprocessing(self, folder: Path) -> SingleImages:
        """Return SigLIP's preprocessing, with the aspect ignored and a bicubic filter."""
        size = _tower_config(folder).image_size
        return SingleImages(
            image_processor=SiglipImageProcessorPil(
                size={"height": size, "width": size},
                resample=3,
                image_mean=[0.5, 0.5, 0.5],
                image_std=[0.5, 0.5, 0.5],
            )
        )

    def tower(self, folder: Path, model: ModelSpec) -> nn.Module:
        """Load the tower up to its last layer."""
        weights = part_weights(folder / "vision_tower")
        siglip = load_part(SiglipVisionModel, _tower_config(folder), weights, model)
        return PenultimateLayer(siglip, num_skipped=0)

    def projector(self, folder: Path, model: ModelSpec) -> nn.Module:
        """Load the projector."""
        return settled(DownsamplingProjector(part_weights(folder / "mm_projector")), model)

    def language(self, folder: Path, model: ModelSpec) -> tuple[Any, Any]:
        """Load Llama and its tokenizer."""
        config = LlamaConfig.from_pretrained(folder / "llm", local_files_only=True)
        weights = part_weights(folder / "llm")
        llm = load_part(LlamaForCausalLM, config, weights, model)
        return llm, self.tokenizer(folder)

    def tokenizer(self, folder: Path) -> Any:
        """Load Llama's tokenizer."""
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

    def prompt(self, tokenizer: Any, media: Sequence[Projected], question: str) -> list[Piece]:
        """Return the vicuna_v1 conversation, images before the question."""
        images = [tokens for one in media for tokens in one.main.flatten(1, -2)]
        pieces: list[Piece] = [tokenizer(_SYSTEM).input_ids]
        # Text between images is tokenised by itself, as VILA does: a token never spans two pieces.
        texts = [*["\n"] * (len(images) - 1), f"\n{question} ASSISTANT:"]
        for tokens, text in zip(images, texts, strict=True):
            pieces += [tokens, tokenizer(text, add_special_tokens=False).input_ids]
        return pieces


class DownsamplingProjector(nn.Module):
    """``mlp_downsample``: each two by two patches become one token, column by column."""

    def __init__(self, weights: Mapping[str, torch.Tensor]) -> None:
        """Take the weights ``layers.{1,2,4}.{weight,bias}``; layer 0 only moves numbers."""
        super().__init__()
        inner, width = weights["layers.2.weight"].shape
        self.layers = nn.Sequential(
            nn.Identity(),
            nn.LayerNorm(width),
            nn.Linear(width, inner),
            nn.GELU(),
            nn.Linear(inner, len(weights["layers.4.weight"])),
        )
        self.load_state_dict(weights)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return (N, ceil(side / 2)², D) of (N, side², width) features."""
        side = math.isqrt(features.shape[1])
        grid = features.unflatten(1, (side, side))
        grid = nn.functional.pad(grid, (0, 0, 0, side % 2, 0, side % 2))
        half = grid.shape[1] // 2
        blocks = grid.unflatten(2, (half, 2)).unflatten(1, (half, 2))  # N, row, 2, column, 2, width
        merged = blocks.permute(0, 3, 1, 2, 4, 5).flatten(3).flatten(1, 2)
        return torch.as_tensor(self.layers(merged))


def _refuse_other_layouts(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    projector = json.loads((folder / "mm_projector" / "config.json").read_text(encoding="utf-8"))
    llm = json.loads((folder / "llm" / "config.json").read_text(encoding="utf-8"))
    if llm["vocab_size"] > _VICUNA_VOCABULARY:
        raise CheckpointError(
            f"{folder}: a vocabulary of {llm['vocab_size']} is not Llama 2's. VILA1.5 on Llama 3 "
            "or Yi holds other conversations than vicuna_v1, which is the only one handled."
        )
    aspect, kind = config.get("image_aspect_ratio"), projector.get("mm_projector_type")
    if config.get("s2") or aspect != "resize" or kind != "mlp_downsample":
        raise CheckpointError(
            f"{folder}: image_aspect_ratio {aspect!r}, s2 {config.get('s2')!r} and projector "
            f"{kind!r} are not VILA1.5's ('resize', False, 'mlp_downsample'). NVILA is not handled."
        )


def _tower_config(folder: Path) -> Any:
    return SiglipVisionConfig.from_pretrained(folder / "vision_tower", local_files_only=True)


FAMILY = Vila(model_types=("llava_llama",), tower_name="siglip_vision_model")
