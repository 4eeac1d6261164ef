"""NVILA-Lite from its original checkpoint: SigLIP, a three by three projector, Qwen2.

Liu et al., NVILA: Efficient Frontier Visual Language Models, 2024 (arXiv:2412.04468), and VILA's
repository (``image_aspect_ratio: dynamic``). The folders are VILA1.5's. A picture that is alone in
its prompt is cut into up to twelve tiles, as in InternVL, followed by the whole picture. Several
pictures, and the frames of a video, are shown whole. All tiles are stored, and the whole picture is
one of them. Every tile is followed by a line end.

A video of a single frame, which VILA's code takes for a picture and cuts, is shown whole here.
NVILA itself, whose towers see several scales (``dynamic_s2``), is not handled.

Written from the layout and formulas, and tried on random weights. Not tried: the released weights.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import Qwen2Config, Qwen2ForCausalLM
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil

from encodeonce.models.checkpoint.files import CheckpointError, load_config
from encodeonce.models.checkpoint.loading_hooks import LoadingHooks
from encodeonce.models.checkpoint.parts import filled, load_part, part_weights
from encodeonce.models.family_bases.assembled import PLACEHOLDER, AssembledVision
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
from encodeonce.models.vision.preprocessing import TiledImagesWholeFrames

_PROJECTOR = "mlp_downsample_3x3_fix"
_END = "<|im_end|>"
_QWEN2_TEMPLATE = (
    "{{ '<|im_start|>system\\nYou are a helpful assistant<|im_end|>\\n<|im_start|>user\\n' + "
    "messages[0]['content'] + '<|im_end|>\\n<|im_start|>assistant\\n' }}"
)
"""``chat_template: qwen2`` of VILA's repository. Otherwise the tokenizer's own is used."""


class NvilaLite(VilaLayout):
    """Tiles for a picture by itself, whole pictures and frames for several."""

    def fits(self, folder: Path) -> bool:
        """Whether the checkpoint's projector is NVILA-Lite's."""
        return projector_type(folder) == _PROJECTOR

    def vision(self, folder: Path, model: ModelSpec, vision: VisionSpec) -> AssembledVision:
        """Describe the vision side of a checkpoint.

        Raises:
            CheckpointError: its pictures are cut otherwise, or its language model is not a Qwen2.
        """
        _refuse_other_layouts(folder)
        return super().vision(folder, model, vision)

    def preprocessing(self, folder: Path) -> TiledImagesWholeFrames:
        """Return SigLIP's preprocessing on InternVL's tiles."""
        size = tower_config(folder).image_size
        square = {"height": size, "width": size}
        config = settings(folder)
        image_processor = GotOcr2ImageProcessorPil(
            size=square,
            resample=3,
            crop_to_patches=True,
            min_patches=config.get("min_tiles", 1),
            max_patches=config.get("max_tiles", 12),
            image_mean=HALF,
            image_std=HALF,
        )
        return TiledImagesWholeFrames(image_processor=image_processor, frame_size=square)

    def layers(self, weights: Mapping[str, torch.Tensor]) -> nn.Module:
        """Return ``mlp_downsample_3x3_fix``."""
        return NineToOneProjector(weights)

    def language(self, folder: Path, model: ModelSpec, hooks: LoadingHooks) -> tuple[Any, Any]:
        """Load Qwen2 and its tokenizer."""
        config = self.language_config(folder)
        weights = part_weights(folder / "llm")
        llm = load_part(Qwen2ForCausalLM, config, weights, model, hooks)
        tokenizer = self.tokenizer(folder)
        ends = {tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids(_END)}
        llm.generation_config.eos_token_id = sorted(ends)
        return llm, tokenizer

    def language_config(self, folder: Path) -> Qwen2Config:
        """Return Qwen2's configuration."""
        return load_config(folder / "llm", Qwen2Config)

    def tokenizer(self, folder: Path) -> Any:
        """Load Qwen2's tokenizer, with the checkpoint's chat template."""
        tokenizer = super().tokenizer(folder)
        if settings(folder).get("chat_template") == "qwen2":
            tokenizer.chat_template = _QWEN2_TEMPLATE
        if tokenizer.chat_template is None:
            raise CheckpointError(
                f"{folder}/llm has no chat template, so it is not known how the model wants to be "
                "asked"
            )
        return tokenizer

    def prompt(self, tokenizer: Any, media: Sequence[Projected], question: str) -> list[Piece]:
        """Return the checkpoint's conversation, tiles before the question."""
        images = [tiles for one in media for tiles in one.main]
        alone = len(images) == 1
        tiles = [tile for image in images for tile in (image if alone else image[-1:])]
        marks = (f"{PLACEHOLDER}\n" if alone else PLACEHOLDER) * len(tiles)
        text = tokenizer.apply_chat_template(
            [{"role": "user", "content": f"{marks}{question}".strip()}],
            tokenize=False,
            add_generation_prompt=True,
        )
        before, *after = (
            tokenizer(piece, add_special_tokens=False).input_ids
            for piece in text.split(PLACEHOLDER)
        )
        line_end = tokenizer("\n", add_special_tokens=False).input_ids
        pieces: list[Piece] = [before]
        for tile, behind in zip(tiles, after, strict=True):
            pieces += [tile, line_end + behind]
        return pieces


class NineToOneProjector(nn.Module):
    """``mlp_downsample_3x3_fix``: each three by three patches become one token, row by row."""

    def __init__(self, weights: Mapping[str, torch.Tensor]) -> None:
        """Take the weights ``layers.{1,2,4,5,7}.{weight,bias}``; layer 0 only moves numbers."""
        super().__init__()
        inner, width = weights["layers.2.weight"].shape
        outer = len(weights["layers.5.weight"])
        self.layers = nn.Sequential(
            nn.Identity(),
            nn.LayerNorm(width),
            nn.Linear(width, inner),
            nn.GELU(),
            nn.LayerNorm(inner),
            nn.Linear(inner, outer),
            nn.GELU(),
            nn.Linear(outer, len(weights["layers.7.weight"])),
        )
        filled(self, weights)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return (N, ceil(side / 3)², D) of (N, side², width) features."""
        return torch.as_tensor(self.layers(blocks(features, side=3).flatten(1, 2)))


def _refuse_other_layouts(folder: Path) -> None:
    config, llm = settings(folder), settings(folder, "llm")
    expected = {
        "image_aspect_ratio": (config.get("image_aspect_ratio"), "dynamic"),
        "mm_vision_select_layer": (config.get("mm_vision_select_layer", -2), -2),
        "mm_vision_select_feature": (config.get("mm_vision_select_feature"), "cls_patch"),
        "video_max_tiles": (config.get("video_max_tiles", 1), 1),
        "llm's model_type": (llm.get("model_type"), "qwen2"),
    }
    for name, (found, handled) in expected.items():
        if found != handled:
            raise CheckpointError(
                f"{folder}: {name} {found!r} is not NVILA-Lite's {handled!r}, which is the only "
                f"one handled with the projector {_PROJECTOR}"
            )


FAMILY = NvilaLite(model_types=("llava_llama",), tower_name="siglip_vision_model")
