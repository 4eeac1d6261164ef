"""InternVL (2.5, 3 and 3.5 in transformers' layout): tiles for a picture, whole frames for a video.

Chen et al., InternVL, 2024 (arXiv:2312.14238; arXiv:2404.16821 for the tiles). The ``tower`` tap
is after the pixel shuffle, which only moves numbers. A video's frames are numbered in the prompt.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import InternVLForConditionalGeneration

from encodeonce.datasets.media.media import MediaKind
from encodeonce.models.family_bases.architecture import image_token
from encodeonce.models.family_bases.pixel_reference import PlainMedia, WithPixelReference
from encodeonce.models.language.placeholders import Projected, Shown
from encodeonce.models.vision.preprocessing import (
    TiledImagesWholeFrames,
    load_image_processor,
    video_settings,
)


class InternVL(WithPixelReference):
    """Pictures in tiles, frames whole and numbered."""

    def preprocessing(self, folder: Path) -> TiledImagesWholeFrames:
        """Return the checkpoint's image processor, which tiles as InternVL's processor makes it."""
        image_processor = load_image_processor(folder)
        image_processor.crop_to_patches = True
        size = video_settings(folder).get("size") or dict(image_processor.size)
        frame_size = {"height": int(size["height"]), "width": int(size["width"])}
        return TiledImagesWholeFrames(image_processor=image_processor, frame_size=frame_size)

    def show(self, model: Any, tokenizer: Any, media: Sequence[Projected]) -> list[Shown]:
        """Return each picture's tiles, and each video's frames, one after another."""
        return [
            Shown(
                slot=one.info.kind,
                modality="image",  # frames too go where image tokens are
                text=self._text(model.config, tokenizer, one),
                tokens=one.main.flatten(0, -2),
            )
            for one in media
        ]

    def _text(self, config: Any, tokenizer: Any, one: Projected) -> str:
        tokens = image_token(config, tokenizer) * one.main.shape[-2]
        start, end = tokenizer.start_image_token, tokenizer.end_image_token
        if one.info.kind == "image":
            return f"{start}{tokens * one.main.shape[1]}{end}"
        frames = (f"Frame{n + 1}: {start}{tokens}{end}" for n in range(len(one.units)))
        return "\n".join(frames)

    def pooled(self, modality: MediaKind, tokens: list[torch.Tensor]) -> Any:
        """Return one tensor (N, D)."""
        return torch.cat(tokens)

    def placeholders(self, config: Any, tokenizer: Any) -> Mapping[MediaKind, str]:
        """Return the tokens that stand for pictures and videos in the template."""
        return {"image": image_token(config, tokenizer), "video": tokenizer.video_token}

    def tokens_shape(self, config: Any, pixels: torch.Tensor) -> tuple[int, ...]:
        """Return (U, tiles, P)."""
        return (*pixels.shape[:2], config.image_seq_length)

    def plain_inputs(self, config: Any, media: Sequence[PlainMedia]) -> dict[str, torch.Tensor]:
        """Return all tiles and frames in the order of the prompt."""
        return {"pixel_values": torch.cat([one.pixels.flatten(0, 1) for one in media])}


FAMILY = InternVL(
    model_types=("internvl",),
    model_class=InternVLForConditionalGeneration,
    tower="model.vision_tower",
    projector="model.multi_modal_projector",
    language=("model.language_model", "lm_head"),
)
