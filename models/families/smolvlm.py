"""SmolVLM2 (transformers' SmolVLM): Idefics3 with other sizes, and a prompt of its own for videos.

Marafioti et al., SmolVLM, 2025 (arXiv:2504.05299). A picture is shown in tiles. A video's frames
are shown whole, squeezed into one tile each, after a sentence that counts them and their times.
transformers asks about videos with a chat template of its own, whatever the checkpoint's is.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from transformers import SmolVLMForConditionalGeneration
from transformers.models.smolvlm.processing_smolvlm import (
    DEFAULT_CHAT_TEMPLATE,
    DEFAULT_MEDIA_OUTTRO,
    DEFAULT_VIDEO_INTRO,
    FRAME_TIMESTAMP_MESSAGE,
)

from encodeonce.datasets.media.info import MediaInfo
from encodeonce.datasets.media.media import Frames, MediaKind
from encodeonce.models.family_bases.architecture import image_token
from encodeonce.models.family_bases.row_column_tiles import (
    RowColumnPreprocessing,
    RowColumnTiles,
    tiles_text,
)
from encodeonce.models.language.placeholders import Projected, Shown
from encodeonce.models.vision.preprocessing import load_image_processor, video_settings

_ROUNDING_S = 1e-6  # a frame at one second may be stored a hair before it
_ONES = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"),
    *("ten", "eleven", "twelve", "thirteen", "fourteen"),
    *("fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")


@dataclass(frozen=True, kw_only=True)
class TilesAndWholeFrames(RowColumnPreprocessing):
    """A picture in tiles; a frame whole, resized to ``frame_size`` first and then to one tile."""

    frame_size: Mapping[str, int]
    """Longest edge, pixels."""

    def recipe(self, info: MediaInfo, num_frames: int) -> Mapping[str, Any]:
        """Return the image processor's settings; for frames, also that there are no tiles."""
        recipe = {**super().recipe(info, num_frames), "kind": info.kind}
        if info.kind == "image":
            return recipe
        whole = {"rows": 0, "columns": 0, "do_image_splitting": False}
        return {**recipe, **whole, "size": dict(self.frame_size)}

    def pixels(self, frames: Frames, recipe: Mapping[str, Any]) -> torch.Tensor:
        """Return (1, tiles, 3, H, W) pixels of a picture, (U, 1, 3, H, W) of frames."""
        if recipe["kind"] == "image":
            return super().pixels(frames, recipe)
        whole = [
            self.image_processor(
                images=[frame], do_image_splitting=False, size=recipe["size"], return_tensors="pt"
            )["pixel_values"]
            for frame in frames.pixels_THWC
        ]
        return torch.cat([torch.as_tensor(pixels) for pixels in whole])


class SmolVLM(RowColumnTiles):
    """Pictures in tiles, videos with times."""

    def preprocessing(self, folder: Path) -> TilesAndWholeFrames:
        """Return the checkpoint's image processor, and the size of its video processor."""
        image_processor = load_image_processor(folder)
        settings = video_settings(folder)
        sampling = settings.get("video_sampling") or {}
        size = sampling.get("video_size") or settings.get("size") or image_processor.size
        return TilesAndWholeFrames(
            image_processor=image_processor,
            frame_size={"longest_edge": int(size["longest_edge"])},
        )

    def show(self, model: Any, tokenizer: Any, media: Sequence[Projected]) -> list[Shown]:
        """Return each picture, and each video, as one."""
        token = image_token(model.config, tokenizer)
        shown: list[Shown] = []
        for one in media:
            if one.info.kind == "image":
                shown.extend(super().show(model, tokenizer, [one]))
                continue
            tokens = one.main.flatten(0, 2)
            text = _video_text(one, token * one.main.shape[2])
            shown.append(Shown(slot="video", modality="image", text=text, tokens=tokens))
        return shown

    def placeholders(self, config: Any, tokenizer: Any) -> Mapping[MediaKind, str]:
        """Return the image token, and what the template for videos writes."""
        video = getattr(tokenizer, "video_token", "<video>")
        return {**super().placeholders(config, tokenizer), "video": video}


def _video_text(one: Projected, tokens: str) -> str:
    """Return a video's frames, each after its time in minutes and seconds."""
    info = one.info
    times_s = [one.times_s(unit)[0] + _ROUNDING_S for unit in one.units]
    duration_s = math.floor(info.num_frames / info.fps + _ROUNDING_S) if info.fps else 0
    text = DEFAULT_VIDEO_INTRO.format(
        frame_count=in_words(len(times_s)), video_duration=timedelta(seconds=duration_s)
    )
    for time_s in times_s:
        minutes, seconds = divmod(math.floor(time_s), 60)
        when = f"{minutes:02d}:{seconds:02d}"
        text += FRAME_TIMESTAMP_MESSAGE.format(timestamp=when) + tiles_text(tokens, 0, 0)
    return text + DEFAULT_MEDIA_OUTTRO


def in_words(number: int) -> str:
    """Return a number below a million in words: ``"one hundred and twenty-eight"``.

    The spelling is that of the package num2words.
    """
    thousands, rest = divmod(number, 1000)
    if thousands == 0:
        return _below_thousand(rest)
    words = f"{_below_thousand(thousands)} thousand"
    if rest == 0:
        return words
    return f"{words}{' and ' if rest < 100 else ', '}{_below_thousand(rest)}"


def _below_thousand(number: int) -> str:
    hundreds, rest = divmod(number, 100)
    if hundreds == 0:
        return _below_hundred(rest)
    words = f"{_ONES[hundreds]} hundred"
    return f"{words} and {_below_hundred(rest)}" if rest else words


def _below_hundred(number: int) -> str:
    if number < 20:
        return _ONES[number]
    tens, ones = divmod(number, 10)
    return _TENS[tens - 2] + (f"-{_ONES[ones]}" if ones else "")


FAMILY = SmolVLM(
    model_types=("smolvlm",),
    model_class=SmolVLMForConditionalGeneration,
    tower="model.vision_model",
    projector="model.connector",
    language=("model.text_model", "lm_head"),
    video_template=DEFAULT_CHAT_TEMPLATE,
)
