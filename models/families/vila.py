"""VILA1.5 from its original checkpoint: SigLIP, a two by two projector, Llama.

Lin et al., VILA: On Pre-training for Visual Language Models, 2023 (arXiv:2312.07533). The folders
``vision_tower/``, ``mm_projector/`` and ``llm/`` each hold a part. A video's frames are shown to
the model as images.

This is the model of May 2024 (VILA's repository, branch vila1.5): its projector puts tokens column
by column, where the code from NVILA on, under the same name, puts them row by row; and an image is
followed by a line end without a begin-of-text token, where later code tokenises the line end alone.

Written from the layout and formulas, and tried on random weights. Not tried: the released weights.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

from encodeonce.models.checkpoint.files import CheckpointError, load_config
from encodeonce.models.checkpoint.loading_hooks import LoadingHooks
from encodeonce.models.checkpoint.parts import filled, load_part, part_weights
from encodeonce.models.family_bases.assembled import AssembledVision
from encodeonce.models.family_bases.vila import (
    HALF,
    VilaLayout,
    blocks,
    projector_type,
    settings,
    tower_config,
)
from encodeonce.models.language.placeholders import Projected
from encodeonce.models.language.splicing import Piece
from encodeonce.models.spec import ModelSpec, VisionSpec
from encodeonce.models.vision.preprocessing import SingleImages

_VICUNA_VOCABULARY = 32_064
"""Llama 2's 32,000 tokens and room for some added ones."""
_SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives "
    "helpful, detailed, and polite answers to the user's questions. USER: "
)


class Vila(VilaLayout):
    """One image per frame, each followed by a line end."""

    def fits(self, folder: Path) -> bool:
        """Whether no other file handles the checkpoint's projector."""
        return projector_type(folder) != "mlp_downsample_3x3_fix"

    def vision(self, folder: Path, model: ModelSpec, vision: VisionSpec) -> AssembledVision:
        """Describe the vision side of a checkpoint.

        Raises:
            CheckpointError: pictures are cut into scales or tiles, as NVILA's are.
        """
        _refuse_other_layouts(folder)
        return super().vision(folder, model, vision)

    def preprocessing(self, folder: Path) -> SingleImages:
        """Return SigLIP's preprocessing, whatever the aspect, with a bicubic filter."""
        size = tower_config(folder).image_size
        square = {"height": size, "width": size}
        return SingleImages(
            image_processor=SiglipImageProcessorPil(
                size=square, resample=3, image_mean=HALF, image_std=HALF
            )
        )

    def layers(self, weights: Mapping[str, torch.Tensor]) -> nn.Module:
        """Return ``mlp_downsample``."""
        return DownsamplingProjector(weights)

    def language(self, folder: Path, model: ModelSpec, hooks: LoadingHooks) -> tuple[Any, Any]:
        """Load Llama and its tokenizer."""
        config = self.language_config(folder)
        weights = part_weights(folder / "llm")
        llm = load_part(LlamaForCausalLM, config, weights, model, hooks)
        return llm, self.tokenizer(folder)

    def language_config(self, folder: Path) -> LlamaConfig:
        """Return Llama's configuration."""
        return load_config(folder / "llm", LlamaConfig)

    def prompt(self, tokenizer: Any, media: Sequence[Projected], question: str) -> list[Piece]:
        """Return the vicuna_v1 conversation, images before the question."""
        images = [tokens for one in media for tokens in one.main.flatten(1, -2)]
        if not images:
            return [tokenizer(f"{_SYSTEM}{question} ASSISTANT:").input_ids]
        pieces: list[Piece] = [tokenizer(_SYSTEM).input_ids]
        # Text between images is tokenised on its own, as in VILA: a token never spans two pieces.
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
        filled(self, weights)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return (N, ceil(side / 2)², D) of (N, side², width) features."""
        by_column = blocks(features, side=2).transpose(1, 2)
        return torch.as_tensor(self.layers(by_column.flatten(1, 2)))


def _refuse_other_layouts(folder: Path) -> None:
    config, llm = settings(folder), settings(folder, "llm")
    if llm["vocab_size"] > _VICUNA_VOCABULARY:
        raise CheckpointError(
            f"{folder}: a vocabulary of {llm['vocab_size']} is not Llama 2's. VILA1.5 on Llama 3 "
            "or Yi holds other conversations than vicuna_v1, which is the only one handled."
        )
    aspect, kind = config.get("image_aspect_ratio"), projector_type(folder)
    if config.get("s2") or aspect != "resize" or kind != "mlp_downsample":
        raise CheckpointError(
            f"{folder}: image_aspect_ratio {aspect!r}, s2 {config.get('s2')!r} and projector "
            f"{kind!r} are neither VILA1.5's ('resize', False, 'mlp_downsample') nor NVILA-Lite's "
            "('dynamic', False, 'mlp_downsample_3x3_fix'). NVILA with scales (dynamic_s2) is not "
            "handled."
        )


FAMILY = Vila(model_types=("llava_llama",), tower_name="siglip_vision_model")
