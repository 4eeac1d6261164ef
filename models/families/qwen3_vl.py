"""Qwen3-VL: as Qwen2-VL, with deepstack features and times in the prompt.

Bai et al., Qwen3-VL Technical Report, 2025 (arXiv:2511.21631). In the prompt, each temporal
patch of a video follows its time, between a start and an end token of its own. The template's
start and end tokens stay around all of them: transformers has done so since 5.10 (and vLLM with
it), while at the model's release, in 4.57, they were replaced with the rest of the placeholder.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from transformers import Qwen3VLForConditionalGeneration

from encodeonce.datasets.media.info import MediaInfo
from encodeonce.models.family_bases.patch_grids import GridFamily, GridPreprocessing, pixel_range
from encodeonce.models.language.placeholders import Projected
from encodeonce.models.vision.preprocessing import load_image_processor, video_settings


@dataclass(frozen=True, kw_only=True)
class SharedPixels(GridPreprocessing):
    """``video_pixels`` are those of a whole video: the more frames, the smaller each."""

    def resized(self, info: MediaInfo, num_frames: int) -> tuple[int, int]:
        """Return height and width in pixels."""
        if info.kind == "image":
            return super().resized(info, num_frames)
        factor = self.factor
        length = self.image_processor.temporal_patch_size
        num_frames = max(num_frames, length)
        enlarge = max(1.0, factor / info.height, factor / info.width)
        height, width = int(info.height * enlarge), int(info.width * enlarge)
        rows, columns = round(height / factor), round(width / factor)
        pixels = round(num_frames / length) * length * rows * columns * factor**2
        fewest, most = self.video_pixels
        if pixels > most:
            shrink = math.sqrt(num_frames * height * width / most)
            rows = max(1, math.floor(height / shrink / factor))
            columns = max(1, math.floor(width / shrink / factor))
        elif pixels < fewest:
            grow = math.sqrt(fewest / (num_frames * height * width))
            rows, columns = math.ceil(height * grow / factor), math.ceil(width * grow / factor)
        return rows * factor, columns * factor


class Qwen3VL(GridFamily):
    """Videos with times."""

    def preprocessing(self, folder: Path) -> SharedPixels:
        """Return the checkpoint's image processor, and the pixels it gives a video."""
        return SharedPixels(
            image_processor=load_image_processor(folder),
            video_pixels=pixel_range(video_settings(folder), (128 * 32 * 32, 768 * 32 * 32)),
        )

    def text(self, config: Any, tokenizer: Any, one: Projected) -> str:
        """Return image tokens, or a time and vision tokens for each temporal patch."""
        if one.info.kind == "image":
            return super().text(config, tokenizer, one)
        start, token, end = _vision_tokens(config, tokenizer)
        tokens = start + token * one.main.shape[1] + end
        return "".join(f"<{fmean(one.times_s(unit)):.1f} seconds>{tokens}" for unit in one.units)


def _vision_tokens(config: Any, tokenizer: Any) -> tuple[str, str, str]:
    ids = [config.vision_start_token_id, config.video_token_id, config.vision_end_token_id]
    start, token, end = tokenizer.convert_ids_to_tokens(ids)
    return start, token, end


FAMILY = Qwen3VL(
    model_types=("qwen3_vl",),
    model_class=Qwen3VLForConditionalGeneration,
    tower="model.visual",
    projector=None,
    language=("model.language_model", "lm_head"),
)
