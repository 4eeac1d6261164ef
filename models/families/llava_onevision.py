"""LLaVA-OneVision: tiles for a picture, pooled frames for a video.

Li et al., LLaVA-OneVision: Easy Visual Task Transfer, 2024 (arXiv:2408.03326). Stored are the
features of every tile or frame before packing and pooling, which the language side does.

With several pictures in a prompt, each is tiled as if it were the only one; transformers'
processor then shows one padded overview of each instead. A picture's features must not depend on
its company.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import LlavaOnevisionForConditionalGeneration

from encodeonce.datasets.media import MediaKind
from encodeonce.models.architecture import image_token
from encodeonce.models.pixel_reference import PlainMedia, WithPixelReference
from encodeonce.models.preprocessing import (
    TiledImagesWholeFrames,
    load_image_processor,
    video_settings,
)
from encodeonce.models.shown import Projected, Shown


class LlavaOnevision(WithPixelReference):
    """Pictures in tiles, frames whole."""

    def preprocessing(self, folder: Path) -> TiledImagesWholeFrames:
        """Return the checkpoint's image processor, and the size of its video processor."""
        image_processor = load_image_processor(folder)
        size = video_settings(folder).get("size", {})
        if not {"height", "width"} <= size.keys():
            size = dict(image_processor.size)
        frame_size = {"height": int(size["height"]), "width": int(size["width"])}
        return TiledImagesWholeFrames(image_processor=image_processor, frame_size=frame_size)

    def image_inputs(self, config: Any, pixels: torch.Tensor) -> dict[str, Any]:
        """Return tiles without the pictures' sizes: packing comes later."""
        return {**super().image_inputs(config, pixels), "image_sizes": ()}

    def show(self, model: Any, tokenizer: Any, media: Sequence[Projected]) -> list[Shown]:
        """Return pictures packed, and videos pooled with a line end behind them."""
        return [self._show(model, tokenizer, one) for one in media]

    def _show(self, model: Any, tokenizer: Any, one: Projected) -> Shown:
        kind = one.info.kind
        token = self.placeholders(model.config, tokenizer)[kind]
        newline = model.model.image_newline.to(one.main.device)
        if kind == "image":
            packed, _ = model.model.pack_image_features(
                list(one.main),
                torch.tensor([[one.info.height, one.info.width]]),
                image_newline=newline,
                vision_aspect_ratio=model.config.vision_aspect_ratio,
            )
            tokens = packed[0]
        else:
            pooled = model.model.apply_pooling(one.main.flatten(0, 1)).flatten(0, 1)
            tokens = torch.cat((pooled, newline[None].to(pooled.dtype)))
        return Shown(slot=kind, modality=kind, text=token * len(tokens), tokens=tokens)

    def pooled(self, modality: MediaKind, tokens: list[torch.Tensor]) -> Any:
        """Return pictures as a list, videos as one tensor (1, N, D)."""
        return tokens if modality == "image" else torch.cat(tokens)[None]

    def placeholders(self, config: Any, tokenizer: Any) -> Mapping[MediaKind, str]:
        """Return the tokens of pictures and videos."""
        return {
            "image": image_token(config, tokenizer),
            "video": str(tokenizer.convert_ids_to_tokens(config.video_token_id)),
        }

    def tokens_shape(self, config: Any, pixels: torch.Tensor) -> tuple[int, ...]:
        """Return (U, tiles, P)."""
        rows = config.vision_config.image_size // config.vision_config.patch_size
        return (*pixels.shape[:2], rows * rows)

    def plain_inputs(self, config: Any, media: Sequence[PlainMedia]) -> dict[str, torch.Tensor]:
        """Return pixels and sizes as transformers' forward takes them."""
        pictures = [one for one in media if one.info.kind == "image"]
        videos = [one.pixels.squeeze(1) for one in media if one.info.kind == "video"]
        inputs = {}
        if pictures:
            # Tiles one after another, as the forward takes pictures of different numbers of them.
            inputs["pixel_values"] = torch.cat([one.pixels.flatten(0, 1) for one in pictures])
            sizes = [[one.info.height, one.info.width] for one in pictures]
            inputs["image_sizes"] = torch.tensor(sizes)
        if len({len(video) for video in videos}) > 1:
            raise ValueError("the plain model takes several videos only with equally many frames")
        if videos:
            inputs["pixel_values_videos"] = torch.stack(videos)
        return inputs


FAMILY = LlavaOnevision(
    model_types=("llava_onevision",),
    model_class=LlavaOnevisionForConditionalGeneration,
    tower="model.vision_tower",
    projector="model.multi_modal_projector",
    language=("model.language_model", "lm_head"),
)
