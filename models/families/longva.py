"""LongVA-7B from its original checkpoint: a tuned CLIP-L/336, an MLP, Qwen2 with long context.

Zhang et al., Long Context Transfer from Language to Vision, 2024 (arXiv:2406.16852). A video is
flattened frame by frame ("unires"); a picture is a short video of its tiles, without an overview.
Each frame's or tile's grid is averaged two by two after the projector, whatever the checkpoint's
configuration says: LongVA's own evaluation does that.

Written from the layout and formulas, and tried on random weights. Not tried: the released weights.
"""

import ast
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn
from transformers import CLIPVisionConfig, CLIPVisionModel, Qwen2Config, Qwen2ForCausalLM
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from encodeonce.datasets.media.info import MediaInfo
from encodeonce.datasets.media.media import Frames
from encodeonce.models.checkpoint.files import CheckpointError, read_config, tensors, weights_digest
from encodeonce.models.checkpoint.loading_hooks import LoadingHooks
from encodeonce.models.checkpoint.parts import PenultimateLayer, load_part, part_weights, settled
from encodeonce.models.family_bases.assembled import AssembledFamily
from encodeonce.models.language.chat import load_tokenizer
from encodeonce.models.language.placeholders import Projected
from encodeonce.models.language.splicing import Piece
from encodeonce.models.spec import ModelSpec, Tap
from encodeonce.models.vision.preprocessing import SingleImages

_TOWER = "model.vision_tower.vision_tower."
_PROJECTOR = "model.mm_projector."
_HEAD_WIDTH = 64  # of every CLIP by OpenAI; the weights do not show it
_BEFORE = (
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n"  # qwen_1_5
)
_AFTER = "<|im_end|>\n<|im_start|>assistant\n"


class LongVA(AssembledFamily):
    """One flat sequence of frames, or of tiles, for each media item."""

    def preprocessing(self, folder: Path) -> "UnifiedTiles":
        """Return CLIP's preprocessing at the tower's own size."""
        side = _image_side(part_weights(folder, _TOWER, "vision_model.embeddings."))
        image_processor = CLIPImageProcessorPil(
            size={"shortest_edge": side}, crop_size={"height": side, "width": side}
        )
        pinpoints = _pinpoints(read_config(folder).get("image_grid_pinpoints"), side)
        return UnifiedTiles(image_processor=image_processor, pinpoints=pinpoints)

    def tower(self, folder: Path, model: ModelSpec) -> nn.Module:
        """Load the tower from the checkpoint: it was tuned, and is no longer OpenAI's."""
        weights = part_weights(folder, _TOWER)
        clip = load_part(CLIPVisionModel, _clip_config(weights), weights, model)
        return PenultimateLayer(clip, num_skipped=1)

    def projector(self, folder: Path, model: ModelSpec) -> nn.Module:
        """Load the two-layer projector, followed by the pooling."""
        weights = part_weights(folder, _PROJECTOR)
        return settled(PoolingProjector(weights), model)

    def language(self, folder: Path, model: ModelSpec, hooks: LoadingHooks) -> tuple[Any, Any]:
        """Load Qwen2 and its tokenizer."""
        weights = {
            name: read()
            for name, read in tensors(folder)
            if name.startswith(("model.embed_tokens.", "model.layers.", "model.norm.", "lm_head."))
        }
        config = self.language_config(folder)
        llm = load_part(Qwen2ForCausalLM, config, weights, model, hooks)
        return llm, self.tokenizer(folder)

    def tokenizer(self, folder: Path) -> Any:
        """Load Qwen2's tokenizer."""
        return load_tokenizer(folder)

    def language_config(self, folder: Path) -> Qwen2Config:
        """Return Qwen2's configuration: the checkpoint's, under Qwen2's name."""
        settings = {**read_config(folder), "model_type": "qwen2", "rope_scaling": None}
        return Qwen2Config.from_dict(settings)

    def weights_sha256(self, folder: Path, tap: Tap) -> str:
        """Return the digest of the tower (and projector)."""
        parts = ["vision_tower"] if tap == "tower" else ["vision_tower", "mm_projector"]
        return weights_digest(folder, parts)

    def tap(self, folder: Path) -> Mapping[str, Any]:
        """Return the layer, and that the class token is dropped."""
        return {"layer": -2, "select": "patch"}

    def prompt(self, tokenizer: Any, media: Sequence[Projected], question: str) -> list[Piece]:
        """Return the qwen_1_5 conversation; media are side by side on a line of their own."""
        if not media:
            return [tokenizer(f"{_BEFORE}{question}{_AFTER}", add_special_tokens=False).input_ids]
        texts = [_BEFORE, *[" "] * (len(media) - 1), f"\n{question}{_AFTER}"]
        pieces: list[Piece] = []
        for text, one in zip(texts, media, strict=False):
            ids = tokenizer(text, add_special_tokens=False).input_ids
            pieces += [ids, one.main.flatten(0, -2)]
        return [*pieces, tokenizer(texts[-1], add_special_tokens=False).input_ids]


class PoolingProjector(nn.Module):
    """``mlp2x_gelu``, then the average of each two by two tokens."""

    def __init__(self, weights: Mapping[str, torch.Tensor]) -> None:
        """Take the weights ``{0,2}.{weight,bias}``."""
        super().__init__()
        inner, width = weights["0.weight"].shape
        self.layers = nn.Sequential(
            nn.Linear(width, inner), nn.GELU(), nn.Linear(inner, weights["2.weight"].shape[0])
        )
        self.layers.load_state_dict(weights)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return (N, P / 4, D) of (N, P, width) features."""
        side = math.isqrt(features.shape[1])
        grid = self.layers(features).unflatten(1, (side, side)).permute(0, 3, 1, 2)
        pooled = nn.functional.avg_pool2d(grid, kernel_size=2)
        return torch.as_tensor(pooled.permute(0, 2, 3, 1).flatten(1, 2))


@dataclass(frozen=True, kw_only=True)
class UnifiedTiles(SingleImages):
    """A picture is (1, tiles, 3, H, W), frames are (U, 1, 3, H, W)."""

    pinpoints: tuple[tuple[int, int], ...]
    """Widths and heights that a picture may be resized to, pixels."""

    def recipe(self, info: MediaInfo, num_frames: int) -> Mapping[str, Any]:
        """Return CLIP's settings and, for a picture, the size that is cut into tiles."""
        recipe = {**super().recipe(info, num_frames), "kind": info.kind}
        if info.kind == "video":
            return recipe
        return {**recipe, "tiled": list(best_fit((info.width, info.height), self.pinpoints))}

    def pixels(self, frames: Frames, recipe: Mapping[str, Any]) -> torch.Tensor:
        """Return the pixels of a picture's tiles, or of frames."""
        if recipe["kind"] == "video":
            return super().pixels(frames, recipe).unsqueeze(1)
        side = self.image_processor.crop_size["height"]
        width, height = recipe["tiled"]
        padded = np.asarray(padded_to(Image.fromarray(frames.pixels_THWC[0]), (width, height)))
        tiles = [
            padded[top : top + side, left : left + side]
            for top in range(0, height, side)
            for left in range(0, width, side)
        ]
        pixels = self.image_processor(images=tiles, return_tensors="pt")["pixel_values"]
        return torch.as_tensor(pixels).unsqueeze(0)


def best_fit(size: tuple[int, int], allowed: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """Return the (width, height) that keeps most of a picture's pixels, and wastes least space."""

    def kept_and_wasted(candidate: tuple[int, int]) -> tuple[int, int]:
        scale = min(candidate[0] / size[0], candidate[1] / size[1])
        kept = min(int(size[0] * scale) * int(size[1] * scale), size[0] * size[1])
        return kept, kept - candidate[0] * candidate[1]

    return max(allowed, key=kept_and_wasted)


def padded_to(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Resize a picture to fit (width, height) and centre it on black."""
    across, down = size[0] / image.width, size[1] / image.height
    if across < down:
        fitted = (size[0], min(math.ceil(image.height * across), size[1]))
    else:
        fitted = (min(math.ceil(image.width * down), size[0]), size[1])
    padded = Image.new("RGB", size)
    corner = ((size[0] - fitted[0]) // 2, (size[1] - fitted[1]) // 2)
    padded.paste(image.resize(fitted, Image.Resampling.BICUBIC), corner)
    return padded


def _pinpoints(value: Any, side: int) -> tuple[tuple[int, int], ...]:
    """Read ``[[336, 672], ...]``, the same as text, or a range of tiles ``(1x1),...,(6x6)``."""
    if isinstance(value, str) and "x" in value:
        tiles = [(int(a), int(b)) for a, b in re.findall(r"\((\d+)x(\d+)\)", value)]
        (first_across, first_down), (last_across, last_down) = tiles[0], tiles[-1]
        return tuple(
            (across * side, down * side)
            for across in range(first_across, last_across + 1)
            for down in range(first_down, last_down + 1)
        )
    pinpoints = ast.literal_eval(value) if isinstance(value, str) else value
    if not pinpoints:
        raise CheckpointError("config.json has no image_grid_pinpoints, so pictures have no tiles")
    return tuple((int(across), int(down)) for across, down in pinpoints)


def _clip_config(weights: Mapping[str, torch.Tensor]) -> CLIPVisionConfig:
    """Read the tower's shape off its weights: the checkpoint names it, but has no config of it."""
    width, _, patch, _ = weights["vision_model.embeddings.patch_embedding.weight"].shape
    layers = {name.split(".")[3] for name in weights if ".encoder.layers." in name}
    return CLIPVisionConfig(
        hidden_size=width,
        intermediate_size=len(weights["vision_model.encoder.layers.0.mlp.fc1.weight"]),
        num_hidden_layers=len(layers),
        num_attention_heads=width // _HEAD_WIDTH,
        image_size=_image_side(weights),
        patch_size=patch,
    )


def _image_side(weights: Mapping[str, torch.Tensor]) -> int:
    """Return the side of the tower's square pictures, pixels."""
    patch = weights["vision_model.embeddings.patch_embedding.weight"].shape[-1]
    num_patches = len(weights["vision_model.embeddings.position_embedding.weight"]) - 1
    return math.isqrt(num_patches) * patch


FAMILY = LongVA(model_types=("llava_qwen",), tower_name="clip_vision_model")
