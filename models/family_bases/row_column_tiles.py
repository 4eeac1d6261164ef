"""Tiles whose rows and columns the prompt names: Idefics3, and SmolVLM's pictures.

Shapes: U units, P tokens per tile.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from encodeonce.datasets.media.info import MediaInfo
from encodeonce.datasets.media.media import Frames
from encodeonce.models.family_bases.architecture import image_token
from encodeonce.models.family_bases.pixel_reference import PlainMedia, WithPixelReference
from encodeonce.models.language.placeholders import Projected, Shown
from encodeonce.models.vision.preprocessing import TiledImages, load_image_processor

_AROUND = "<fake_token_around_image>"
_OVERVIEW = "<global-img>"


@dataclass(frozen=True, kw_only=True)
class RowColumnPreprocessing(TiledImages):
    """Tiles whose rows and columns follow from the picture's size."""

    def recipe(self, info: MediaInfo, num_frames: int) -> Mapping[str, Any]:
        """Return the image processor's settings, and rows and columns; both are 0 for one tile."""
        _, rows, columns = self.image_processor.get_number_of_image_patches(info.height, info.width)
        return {**super().recipe(info, num_frames), "rows": rows, "columns": columns}

    def pixels(self, frames: Frames, recipe: Mapping[str, Any]) -> torch.Tensor:
        """Return (U, tiles, 3, H, W) pixels.

        Raises:
            ValueError: the image processor cut other tiles than it had said.
        """
        pixels = super().pixels(frames, recipe)
        expected = recipe["rows"] * recipe["columns"] + 1
        if pixels.shape[1] != expected:
            raise ValueError(f"{pixels.shape[1]} tiles where {expected} were foreseen: {recipe}")
        return pixels


class RowColumnTiles(WithPixelReference):
    """A picture's tiles row by row, then the overview."""

    def preprocessing(self, folder: Path) -> RowColumnPreprocessing:
        """Return the checkpoint's image processor, for one frame at a time."""
        return RowColumnPreprocessing(image_processor=load_image_processor(folder))

    def image_inputs(self, config: Any, pixels: torch.Tensor) -> dict[str, Any]:
        """Return the tiles (B, tiles, 3, H, W) of one picture each."""
        return {"pixel_values": pixels}

    def show(self, model: Any, tokenizer: Any, media: Sequence[Projected]) -> list[Shown]:
        """Return each picture, and each frame, as one image."""
        token = image_token(model.config, tokenizer)
        return [
            Shown(
                slot="image",
                modality="image",
                text=tiles_text(token * tiles.shape[1], one.recipe["rows"], one.recipe["columns"]),
                tokens=tiles.flatten(0, 1),
            )
            for one in media
            for tiles in one.main
        ]

    def tokens_shape(self, config: Any, pixels: torch.Tensor) -> tuple[int, ...]:
        """Return (U, tiles, P)."""
        rows = config.vision_config.image_size // config.vision_config.patch_size
        return (*pixels.shape[:2], (rows // config.scale_factor) ** 2)

    def plain_inputs(self, config: Any, media: Sequence[PlainMedia]) -> dict[str, torch.Tensor]:
        """Return the tiles of all pictures in a prompt: (1, tiles, 3, H, W)."""
        return {"pixel_values": torch.cat([one.pixels.flatten(0, 1) for one in media])[None]}

    def tap(self, config: Any) -> dict[str, Any]:
        """Return nothing: it is always the last layer."""
        return {}


def tiles_text(tokens: str, rows: int, columns: int) -> str:
    """Return a picture's text: its tiles with their places, and the overview.

    Args:
        tokens: the image token, once for each feature of a tile.
        rows: of tiles; 0 if there is only the overview.
        columns: of tiles.
    """
    overview = f"{_AROUND}{_OVERVIEW}{tokens}{_AROUND}"
    if rows == 0:
        return overview
    text = ""
    for row in range(1, rows + 1):
        places = (f"{_AROUND}<row_{row}_col_{column}>{tokens}" for column in range(1, columns + 1))
        text += "".join(places) + "\n"
    return f"{text}\n{overview}"
