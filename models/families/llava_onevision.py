"""LLaVA-OneVision: tiles for a picture, pooled frames for a video.

Li et al., LLaVA-OneVision: Easy Visual Task Transfer, 2024 (arXiv:2408.03326). The
features of every tile or frame are stored; the language side packs and pools them.

A picture that is alone in its prompt is shown in tiles. Where there are several, each is shown as
one tile, padded to a square. A picture's features must not depend on the others, so that tile is
stored behind its other tiles.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import LlavaOnevisionForConditionalGeneration

from encodeonce.datasets.media.info import MediaInfo
from encodeonce.datasets.media.media import Frames, MediaKind
from encodeonce.models.family_bases.architecture import image_token, token_text
from encodeonce.models.family_bases.pixel_reference import PlainMedia, WithPixelReference
from encodeonce.models.language.placeholders import Projected, Shown
from encodeonce.models.vision.preprocessing import (
    TiledImagesWholeFrames,
    load_image_processor,
    video_settings,
)


@dataclass(frozen=True, kw_only=True)
class TilesAndSquare(TiledImagesWholeFrames):
    """A picture's tiles, followed by the whole picture padded to a square."""

    def recipe(self, info: MediaInfo, num_frames: int) -> Mapping[str, Any]:
        """Return the image processor's settings, and that there is a square."""
        recipe = super().recipe(info, num_frames)
        return {**recipe, "square": "last"} if info.kind == "image" else recipe

    def pixels(self, frames: Frames, recipe: Mapping[str, Any]) -> torch.Tensor:
        """Return (1, tiles + 1, 3, H, W) pixels of a picture, (U, 1, 3, H, W) of frames."""
        pixels = super().pixels(frames, recipe)
        if recipe["kind"] != "image":
            return pixels
        (frame,) = frames.pixels_THWC
        # The image processor makes squares of pictures only if there are several in a prompt.
        both = self.image_processor(images=[[frame, frame]], return_tensors="pt")["pixel_values"]
        return torch.cat((pixels, torch.as_tensor(both)[:1]), dim=1)


class LlavaOnevision(WithPixelReference):
    """Pictures in tiles, frames whole."""

    def preprocessing(self, folder: Path) -> TilesAndSquare:
        """Return the checkpoint's image processor, and the size of its video processor."""
        image_processor = load_image_processor(folder)
        size = video_settings(folder).get("size", {})
        if not {"height", "width"} <= size.keys():
            size = dict(image_processor.size)
        frame_size = {"height": int(size["height"]), "width": int(size["width"])}
        return TilesAndSquare(image_processor=image_processor, frame_size=frame_size)

    def image_inputs(self, config: Any, pixels: torch.Tensor) -> dict[str, Any]:
        """Return tiles without the pictures' sizes: packing comes later."""
        return {**super().image_inputs(config, pixels), "image_sizes": ()}

    def show(self, model: Any, tokenizer: Any, media: Sequence[Projected]) -> list[Shown]:
        """Return pictures packed, and videos pooled, with a line end after them."""
        alone = sum(one.info.kind == "image" for one in media) == 1
        return [self._show(model, tokenizer, one, alone) for one in media]

    def _show(self, model: Any, tokenizer: Any, one: Projected, alone: bool) -> Shown:
        kind = one.info.kind
        token = self.placeholders(model.config, tokenizer)[kind]
        newline = model.model.image_newline.to(one.main.device)
        if kind == "image":
            packed, _ = model.model.pack_image_features(
                [_shown_tiles(tiles, alone) for tiles in one.main],
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
            "video": token_text(tokenizer, config.video_token_id),
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
            alone = len(pictures) == 1
            # Tiles one after another, since pictures may have different numbers of them.
            tiles = [_shown_tiles(one.pixels[0], alone) for one in pictures]
            inputs["pixel_values"] = torch.cat(tiles)
            sizes = [[one.info.height, one.info.width] for one in pictures]
            inputs["image_sizes"] = torch.tensor(sizes)
            inputs["batch_num_images"] = torch.tensor([len(pictures)])
        if len({len(video) for video in videos}) > 1:
            raise ValueError("the plain model takes several videos only with equally many frames")
        if videos:
            inputs["pixel_values_videos"] = torch.stack(videos)
        return inputs


def _shown_tiles(tiles: torch.Tensor, alone: bool) -> torch.Tensor:
    """Return all of a picture's (tiles + 1, ...) except the square, or the square only."""
    return tiles[:-1] if alone else tiles[-1:]


FAMILY = LlavaOnevision(
    model_types=("llava_onevision",),
    model_class=LlavaOnevisionForConditionalGeneration,
    tower="model.vision_tower",
    projector="model.multi_modal_projector",
    language=("model.language_model", "lm_head"),
)
