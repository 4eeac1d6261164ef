"""Sets up what the ``bench`` commands measure on: a model, and a picture or video."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import torch

from encodeonce.datasets.media.sampling import UniformInclusive
from encodeonce.harness.bench.scene import SceneSpec
from encodeonce.harness.report.plain_console import PlainConsole, plain_text
from encodeonce.models.checkpoint.files import device as device_of
from encodeonce.models.spec import ModelSpec, VisionSpec
from encodeonce.models.synthetic import llava, longva, vila
from encodeonce.models.synthetic.llava import write_random_llava
from encodeonce.models.synthetic.longva import write_random_longva
from encodeonce.models.synthetic.media import write_picture, write_video
from encodeonce.models.synthetic.vila import write_random_vila

VIDEO_SUFFIXES = (".mp4", ".mkv", ".webm", ".avi", ".mov")
NUM_FRAMES = 8
"""Number of a video's frames to use, unless given."""
FRAMES_APART = 8
"""A made-up video has this many frames for each one used."""

Write = Callable[[Path, torch.dtype, torch.device], Path]
SHAPES: Mapping[str, Write] = {
    "llava-tiny": partial(write_random_llava, llava.TINY),
    "llava-small": partial(write_random_llava, llava.SMALL),
    "llava-1.5-7b": partial(write_random_llava, llava.LLAVA_1_5_7B),
    "longva-tiny": partial(write_random_longva, longva.TINY),
    "longva-7b": partial(write_random_longva, longva.LONGVA_7B),
    "vila-tiny": partial(write_random_vila, vila.TINY),
    "vila1.5-3b": partial(write_random_vila, vila.VILA_1_5_3B),
}


def model_name(model: str, random: str | None) -> str:
    """Return the model's name for reports and files: a path may exist on this machine only."""
    return random or Path(model).name


def make_scene(
    spec: ModelSpec,
    *,
    random: str | None,
    media: Path | None,
    frames: int | None,
    folder: Path,
    vision: VisionSpec | None = None,
) -> SceneSpec:
    """Return the scene; random weights and made-up media are written to ``folder``.

    Args:
        spec: the model; with ``random``, only its precision and device count.
        random: one of `SHAPES`.
        media: a picture or video. Without one, a picture of noise, or, with ``frames``, a video.
        frames: number of a video's frames to use.
        folder: where to write.
        vision: where features are taken; by default after the projector.

    Raises:
        ValueError: there is no such shape or file.
    """
    name = model_name(spec.path, random)
    shown = _made_up(folder, frames) if media is None else _existing(media)
    if random is not None:
        spec = _with_random_weights(random, spec, folder)
    return SceneSpec(
        model=spec,
        model_name=name,
        vision=vision or VisionSpec(tap="projected"),
        media=shown,
        kind="video" if shown.suffix.lower() in VIDEO_SUFFIXES else "image",
        frames=UniformInclusive(num_frames=frames or NUM_FRAMES),
        folder=folder / "cache",
    )


def _with_random_weights(shape: str, spec: ModelSpec, folder: Path) -> ModelSpec:
    if shape not in SHAPES:
        raise ValueError(f"--random {shape!r}: no such shape; allowed: {', '.join(SHAPES)}")
    if spec.path != "demo":
        raise ValueError(f"--random {shape} stands in for a checkpoint; leave out --model")
    with PlainConsole(stderr=True).status(plain_text(f"drawing the weights of {shape}")):
        written = SHAPES[shape](folder / shape, getattr(torch, spec.dtype), device_of(spec))
    return spec.model_copy(update={"path": str(written)})


def _made_up(folder: Path, frames: int | None) -> Path:
    if frames is None:
        return write_picture(folder / "noise.png")
    return write_video(folder / "noise.mp4", FRAMES_APART * frames)


def _existing(media: Path) -> Path:
    if not media.is_file():
        raise ValueError(f"--media {media}: there is no such file")
    return media
