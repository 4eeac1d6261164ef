"""Turn decoded frames into a tower's input, by Pillow and numpy alone.

torchvision is not needed: pictures go through the Pillow backend of the checkpoint's own image
processor. transformers' video processors have no such backend, so the frames of a video are
resized here, as the image processor resizes pictures.

Shapes: U units, T frames of H x W pixels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image
from transformers import AutoImageProcessor

from encodeonce.datasets.media.info import MediaInfo
from encodeonce.datasets.media.media import Frames
from encodeonce.models.checkpoint.files import CheckpointError, read_settings, refusing
from encodeonce.models.vision.visual import Unit

_PROCESSORS = ("preprocessor_config.json", "processor_config.json")


class Preprocessing(Protocol):
    """How an architecture turns media into units, and units into pixels."""

    def units(self, info: MediaInfo, frames: Sequence[int]) -> tuple[Unit, ...]:
        """Return the units that some frames make up."""
        ...

    def recipe(self, info: MediaInfo, num_frames: int) -> Mapping[str, Any]:
        """Return all that decides the pixels of a media item, as plain JSON values."""
        ...

    def pixels(self, frames: Frames, recipe: Mapping[str, Any]) -> torch.Tensor:
        """Return (U, ...) float32 pixels of the units that ``frames`` make up."""
        ...


def load_image_processor(folder: Path) -> Any:
    """Load a checkpoint's image processor.

    Pillow, not torchvision: one resampling everywhere, and no CUDA build needed on a CPU.

    Raises:
        CheckpointError: it has none, or its settings cannot be used.
    """
    files = _processor_files(folder)
    if not files:
        raise CheckpointError(
            f"{folder} has no image processor: neither {' nor '.join(_PROCESSORS)}. Type: "
            f"hf download ORG/NAME --include '*processor_config.json' --local-dir {folder}"
        )
    with refusing(files[0]):
        return AutoImageProcessor.from_pretrained(folder, backend="pil", local_files_only=True)


def _processor_files(folder: Path) -> list[Path]:
    return [folder / name for name in _PROCESSORS if (folder / name).is_file()]


def blank_picture() -> MediaInfo:
    """Return what is known of a small picture without content."""
    return MediaInfo(
        kind="image",
        width=32,
        height=32,
        codec="",
        timestamps_s=(0.0,),
        fps=0.0,
        backend="pillow",
        decoder="",
        index=None,
    )


def try_out(preprocessing: Preprocessing, folder: Path) -> None:
    """Preprocess a picture, so that wrong settings are the checkpoint's fault, not each media's.

    Raises:
        CheckpointError: it cannot be done.
    """
    info = blank_picture()
    pixels_THWC = np.zeros((1, info.height, info.width, 3), np.uint8)
    frames = Frames(pixels_THWC=pixels_THWC, timestamps_s=info.timestamps_s)
    with refusing([*_processor_files(folder), folder / "config.json"][0]):
        preprocessing.pixels(frames, preprocessing.recipe(info, 1))


def video_settings(folder: Path) -> Mapping[str, Any]:
    """Return a checkpoint's video processor settings, empty if it has none.

    transformers has kept them in a file of their own, in ``processor_config.json``, and (in older
    versions) together with the image processor's.
    """
    for name, key in (
        ("video_preprocessor_config.json", None),
        ("processor_config.json", "video_processor"),
        ("preprocessor_config.json", None),
    ):
        if (folder / name).is_file():
            content = read_settings(folder / name)
            settings = content if key is None else content.get(key)
            if settings:
                return dict(settings)
    return {}


def resize_frames(frames: Frames, image_processor: Any, size: Mapping[str, int]) -> torch.Tensor:
    """Return (T, 3, height, width) float32 frames, resized, rescaled and normalised.

    Args:
        frames: of any size.
        image_processor: gives filter, scale, mean and standard deviation.
        size: ``height`` and ``width`` in pixels.
    """
    mean, std = (
        np.asarray(values, np.float32)
        for values in (image_processor.image_mean, image_processor.image_std)
    )
    resized = []
    for frame in frames.pixels_THWC:
        image = Image.fromarray(frame).resize(
            (size["width"], size["height"]), Image.Resampling(image_processor.resample)
        )
        scaled = np.asarray(image, np.float64) * image_processor.rescale_factor
        resized.append((scaled.astype(np.float32) - mean) / std)
    return torch.from_numpy(np.stack(resized).transpose(0, 3, 1, 2).copy())


def frame_units(info: MediaInfo, frames: Sequence[int]) -> tuple[Unit, ...]:
    """Return one unit per frame: the tower sees each frame alone."""
    if info.kind == "image":
        return (Unit("image", (0,)),)
    return tuple(Unit(f"frame:{frame}", (frame,)) for frame in frames)


@dataclass(frozen=True, kw_only=True)
class SingleImages:
    """A picture, or each frame of a video, is one fixed-size image: (U, 3, H, W)."""

    image_processor: Any

    def units(self, info: MediaInfo, frames: Sequence[int]) -> tuple[Unit, ...]:
        """Return one unit per frame."""
        return frame_units(info, frames)

    def recipe(self, info: MediaInfo, num_frames: int) -> Mapping[str, Any]:
        """Return the image processor's settings."""
        return {**self.image_processor.to_dict(), "backend": "pil"}

    def pixels(self, frames: Frames, recipe: Mapping[str, Any]) -> torch.Tensor:
        """Return (U, 3, H, W) pixels."""
        pixels = self.image_processor(images=list(frames.pixels_THWC), return_tensors="pt")
        return torch.as_tensor(pixels["pixel_values"])


@dataclass(frozen=True, kw_only=True)
class TiledImages(SingleImages):
    """A picture, or each frame of a video, is a set of tiles: (U, tiles, 3, H, W).

    The tiles of a picture are one unit: their number follows from the picture's size.
    """

    def pixels(self, frames: Frames, recipe: Mapping[str, Any]) -> torch.Tensor:
        """Return (U, tiles, 3, H, W) pixels, the tiles of each frame in the model's order."""
        units = []
        for frame in frames.pixels_THWC:
            pixels = self.image_processor(images=[frame], return_tensors="pt")["pixel_values"]
            pixels = torch.as_tensor(pixels)
            units.append(pixels.reshape(-1, *pixels.shape[-3:]))
        return torch.stack(units)


@dataclass(frozen=True, kw_only=True)
class TiledImagesWholeFrames(TiledImages):
    """A picture is a set of tiles; a frame of a video is one tile of ``frame_size``."""

    frame_size: Mapping[str, int]

    def recipe(self, info: MediaInfo, num_frames: int) -> Mapping[str, Any]:
        """Return the image processor's settings, and the size of a frame."""
        recipe = {**super().recipe(info, num_frames), "kind": info.kind}
        return recipe if info.kind == "image" else {**recipe, "size": dict(self.frame_size)}

    def pixels(self, frames: Frames, recipe: Mapping[str, Any]) -> torch.Tensor:
        """Return (1, tiles, 3, H, W) pixels of a picture, (U, 1, 3, H, W) of frames."""
        if recipe["kind"] == "image":
            return super().pixels(frames, recipe)
        return resize_frames(frames, self.image_processor, recipe["size"]).unsqueeze(1)
