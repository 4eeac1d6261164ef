"""Pictures and videos as grids of patches, of any size: the Qwen-VL line from Qwen2-VL on.

The tower attends only within a temporal patch (two frames), so that a temporal patch is a unit. Its
merger is inside the tower; the language model's positions follow the grid (M-RoPE).

Shapes: U units, B micro-batch, F frames per temporal patch, N tokens per unit, D width, L levels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

from encodeonce.cache_store.features import MAIN
from encodeonce.datasets.media.info import MediaInfo
from encodeonce.datasets.media.media import Frames, MediaKind
from encodeonce.models.family_bases.architecture import image_token, token_text
from encodeonce.models.family_bases.pixel_reference import PlainMedia, WithPixelReference
from encodeonce.models.language.placeholders import Projected, Shown
from encodeonce.models.vision.preprocessing import (
    load_image_processor,
    resize_frames,
    video_settings,
)
from encodeonce.models.vision.visual import Unit

PixelRange = tuple[int, int]
"""Fewest and most pixels."""

_DEEPSTACK = "deepstack_"


@dataclass(frozen=True, kw_only=True)
class GridPreprocessing:
    """Frames resized to multiples of a merged patch, near their own aspect."""

    image_processor: Any
    video_pixels: PixelRange
    """Of a frame."""

    def units(self, info: MediaInfo, frames: Sequence[int]) -> tuple[Unit, ...]:
        """Return one unit per temporal patch; the last frame is repeated to fill the last patch."""
        if info.kind == "image":
            return (Unit("image", (0,)),)
        length = self.image_processor.temporal_patch_size
        filled = [*frames, *[frames[-1]] * (-len(frames) % length)]
        patches = [tuple(filled[n : n + length]) for n in range(0, len(filled), length)]
        return tuple(Unit(f"frames:{'+'.join(map(str, patch))}", patch) for patch in patches)

    def recipe(self, info: MediaInfo, num_frames: int) -> Mapping[str, Any]:
        """Return the image processor's settings, and the size that the media item is resized to."""
        height, width = self.resized(info, num_frames)
        settings = {**self.image_processor.to_dict(), "backend": "pil", "kind": info.kind}
        return {**settings, "size": {"height": height, "width": width}}

    def resized(self, info: MediaInfo, num_frames: int) -> tuple[int, int]:
        """Return height and width in pixels."""
        size = self.image_processor.size
        fewest, most = self.video_pixels
        if info.kind == "image":
            fewest, most = size["shortest_edge"], size["longest_edge"]
        height, width = smart_resize(info.height, info.width, self.factor, fewest, most)
        return int(height), int(width)

    @property
    def factor(self) -> int:
        """Side of a merged patch, pixels."""
        return int(self.image_processor.patch_size * self.image_processor.merge_size)

    def pixels(self, frames: Frames, recipe: Mapping[str, Any]) -> torch.Tensor:
        """Return (U, F, 3, H, W) pixels; a picture is repeated to fill its temporal patch."""
        resized = resize_frames(frames, self.image_processor, recipe["size"])
        length = self.image_processor.temporal_patch_size
        filling = resized[-1:].expand(-len(resized) % length, *resized.shape[1:])
        return torch.cat((resized, filling)).unflatten(0, (-1, length))


class GridFamily(WithPixelReference):
    """Grids of patches, whose shapes the language model is told."""

    def preprocessing(self, folder: Path) -> GridPreprocessing:
        """Return the checkpoint's image processor, and the pixels it gives a frame."""
        return GridPreprocessing(
            image_processor=load_image_processor(folder),
            video_pixels=pixel_range(video_settings(folder), (128 * 28 * 28, 768 * 28 * 28)),
        )

    def encode(self, model: Any, pixels: torch.Tensor) -> dict[str, torch.Tensor]:
        """Encode (B, F, 3, H, W) pixels to (B, N, D) ``main``, and ``deepstack_0`` and so on."""
        vision = model.config.vision_config
        grid = torch.tensor([grid_of(vision, pixels)] * len(pixels), device=pixels.device)
        output = model.get_image_features(
            pixel_values=patches(vision, pixels), image_grid_thw=grid, return_dict=True
        )
        levels = getattr(output, "deepstack_features", None) or ()
        named = {f"{_DEEPSTACK}{n}": torch.stack(list(level)) for n, level in enumerate(levels)}
        return {MAIN: torch.stack(list(output.pooler_output)), **named}

    def show(self, model: Any, tokenizer: Any, media: Sequence[Projected]) -> list[Shown]:
        """Return each media item as one grid, its temporal patches one after another."""
        return [self._show(model.config, tokenizer, one) for one in media]

    def _show(self, config: Any, tokenizer: Any, one: Projected) -> Shown:
        levels = [name for name in one.arrays if name.startswith(_DEEPSTACK)]
        levels.sort(key=lambda name: int(name.removeprefix(_DEEPSTACK)))
        first = one.times_s(one.units[0])
        last = one.times_s(one.units[-1])
        steps = len(one.units) - 1
        return Shown(
            slot=one.info.kind,
            modality=one.info.kind,
            text=self.text(config, tokenizer, one),
            tokens=one.main.flatten(0, 1),
            levels=tuple(one.arrays[name].flatten(0, 1) for name in levels),
            grid=self._grid(config, one),
            second_per_grid=(last[0] - first[0]) / steps if steps else 1.0,
        )

    def text(self, config: Any, tokenizer: Any, one: Projected) -> str:
        """Return the text that replaces a placeholder."""
        token = image_token(config, tokenizer)
        if one.info.kind == "video":
            token = token_text(tokenizer, config.video_token_id)
        return token * (one.main.shape[0] * one.main.shape[1])

    def _grid(self, config: Any, one: Projected) -> tuple[int, int, int]:
        """Return the grid before merging; its shape follows from the resized picture."""
        merge = config.vision_config.spatial_merge_size
        height, width = one.recipe["size"]["height"], one.recipe["size"]["width"]
        patch = config.vision_config.patch_size
        grid = (len(one.units), height // patch, width // patch)
        assert grid[1] * grid[2] == one.main.shape[1] * merge**2
        return grid

    def inputs(
        self, config: Any, input_ids: torch.Tensor, shown: Sequence[Shown]
    ) -> dict[str, torch.Tensor]:
        """Return grids by modality, and the modality of each token (1, N)."""
        types = torch.zeros_like(input_ids)
        types[input_ids == config.image_token_id] = 1
        types[input_ids == config.video_token_id] = 2
        inputs = {"mm_token_type_ids": types}
        for modality in {one.modality for one in shown}:
            grids = [one.grid for one in shown if one.modality == modality]
            inputs[f"{modality}_grid_thw"] = torch.tensor(grids, device=input_ids.device)
        return inputs

    def state_after(self, model: Any, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return how far the next token's position is from its index.

        Not what the model itself notes about these inputs: text goes on after the last grid's
        longer side, which is not always after its last temporal patch.
        """
        names = ("image_grid_thw", "video_grid_thw", "second_per_grid_ts")
        ids, types = inputs["input_ids"], inputs["mm_token_type_ids"]
        positions, _ = model.model.get_rope_index(
            torch.cat((ids, ids[:, :1]), dim=1),
            mm_token_type_ids=torch.cat((types, torch.zeros_like(types[:, :1])), dim=1),
            **{name: inputs[name] for name in names if name in inputs},
        )
        return {"model.rope_deltas": positions[0, :, -1:] - ids.shape[1]}

    def position_offset(self, state: Mapping[str, Any]) -> int:
        """Return the same, as a number."""
        return int(state["model.rope_deltas"])

    def placeholders(self, config: Any, tokenizer: Any) -> Mapping[MediaKind, str]:
        """Return the tokens of pictures and videos."""
        return {
            "image": image_token(config, tokenizer),
            "video": token_text(tokenizer, config.video_token_id),
        }

    def tap(self, config: Any) -> Mapping[str, Any]:
        """Return nothing: features always leave through the merger."""
        return {}

    def tokens_shape(self, config: Any, pixels: torch.Tensor) -> tuple[int, ...]:
        """Return (U, N)."""
        _, rows, columns = grid_of(config.vision_config, pixels)
        return (len(pixels), rows * columns // config.vision_config.spatial_merge_size**2)

    def plain_inputs(self, config: Any, media: Sequence[PlainMedia]) -> dict[str, torch.Tensor]:
        """Return patches of pictures and of videos; `inputs` has their grids."""
        inputs = {}
        for kind, name in (("image", "pixel_values"), ("video", "pixel_values_videos")):
            ours = [
                patches(config.vision_config, one.pixels) for one in media if one.info.kind == kind
            ]
            if ours:
                inputs[name] = torch.cat(ours)
        return inputs


def pixel_range(settings: Mapping[str, Any], default: PixelRange) -> PixelRange:
    """Return the pixels that a processor's settings allow, in either spelling."""
    size = settings.get("size") or {}
    return (
        int(size.get("shortest_edge") or settings.get("min_pixels") or default[0]),
        int(size.get("longest_edge") or settings.get("max_pixels") or default[1]),
    )


def grid_of(vision: Any, pixels: torch.Tensor) -> tuple[int, int, int]:
    """Return the grid of one unit of (U, F, 3, H, W) pixels."""
    height, width = pixels.shape[-2:]
    return 1, height // vision.patch_size, width // vision.patch_size


def patches(vision: Any, pixels: torch.Tensor) -> torch.Tensor:
    """Cut (U, F, 3, H, W) pixels into rows (patches, 3 * F * side * side), merged ones together.

    The order is transformers': patches that are merged into one token follow one another.
    """
    units, frames, channels = pixels.shape[:3]
    side, merge = vision.patch_size, vision.spatial_merge_size
    _, rows, columns = grid_of(vision, pixels)
    cut = pixels.reshape(
        units, frames, channels, rows // merge, merge, side, columns // merge, merge, side
    )
    cut = cut.permute(0, 3, 6, 4, 7, 2, 1, 5, 8)
    return cut.reshape(units * rows * columns, channels * frames * side * side)
