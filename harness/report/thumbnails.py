"""Thumbnails of the frames that the model saw."""

import base64
import io
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from encodeonce.datasets.media.decode import decode
from encodeonce.datasets.media.ledger import Ledger
from encodeonce.datasets.media.library import MediaLibrary
from encodeonce.datasets.media.media import MediaError, MediaRef
from encodeonce.datasets.media.probe import probe
from encodeonce.datasets.registry import load_benchmark
from encodeonce.harness.run.config import RunConfig
from encodeonce.harness.run.stored import questions_of

SampleKey = tuple[str, str]
"""Benchmark and sample."""

HEIGHT_PX = 84
MOST_FRAMES = 8
"""Most thumbnails of a sample; of more frames, this many are chosen evenly."""
JPEG_QUALITY = 70


@dataclass(frozen=True, slots=True, kw_only=True)
class Thumbnail:
    """A frame, scaled down."""

    jpeg_base64: str
    width_px: int
    height_px: int
    caption: str
    """Time in the video, or the file's name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Strip:
    """The frames of a sample, or why they cannot be shown."""

    frames: tuple[Thumbnail, ...] = ()
    num_seen: int = 0
    """Frames the model saw, of which these are some."""
    missing: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What the model saw of a sample besides the question."""

    strip: Strip
    choices: tuple[str, ...] = ()


def previews(
    run: Mapping[str, Any],
    wanted: Iterable[SampleKey],
    *,
    known_sha256: Iterable[str] = (),
    most_bytes: int = 1_500_000,
    most_s: float = 30.0,
) -> dict[SampleKey, Preview]:
    """Return previews of samples, made from their benchmarks and media.

    Args:
        run: content of run.json.
        wanted: the samples.
        known_sha256: digests of the media that the run used, if they are known: another file's
            frames would not be what the model saw.
        most_bytes: limit for all thumbnails together.
        most_s: seconds after which no further media are decoded.

    Returns:
        A preview of each sample. Missing data or media raise no error.
    """
    keys = list(wanted)
    try:
        config = questions_of(run["config"])
        shown = find_samples(config, keys)
    except (ValueError, OSError) as error:
        strip = Strip(missing=f"the benchmark cannot be read here: {error}")
        return {key: Preview(strip=strip) for key in keys}
    album = Album(config, known_sha256, most_bytes=most_bytes, until_s=time.monotonic() + most_s)
    unknown = Preview(strip=Strip(missing="the benchmark no longer has this sample"))
    return {
        key: Preview(strip=album.strip(*shown[key][:2]), choices=shown[key][2])
        if key in shown
        else unknown
        for key in keys
    }


Shown = tuple[Path, tuple[MediaRef, ...], tuple[str, ...]]
"""The folder of the benchmark's media, and a sample's media and choices."""


def find_samples(config: RunConfig, keys: Iterable[SampleKey]) -> dict[SampleKey, Shown]:
    """Return what samples are about; those that their benchmark no longer has are left out.

    Raises:
        ValueError: a benchmark cannot be read.
        OSError: nor a file of it.
    """
    wanted = set(keys)
    found = {}
    for spec in config.benchmarks:
        if not any(name == spec.title for name, _ in wanted):
            continue
        benchmark = load_benchmark(spec.name, spec.options)
        root = benchmark.media_root.absolute()
        for sample in benchmark.samples():
            if (spec.title, sample.id) in wanted:
                found[spec.title, sample.id] = (root, sample.media, sample.choices)
            if len(found) == len(wanted):
                return found
    return found


class Album:
    """Decodes each media item once, within limits."""

    def __init__(
        self,
        config: RunConfig,
        known_sha256: Iterable[str] = (),
        *,
        most_bytes: float = math.inf,
        until_s: float = math.inf,
        height_px: int = HEIGHT_PX,
        most_frames: int = MOST_FRAMES,
    ) -> None:
        """Begin without any.

        Args:
            config: of the run: its frames, and where its store knows media.
            known_sha256: digests of the media that the run used; empty if they are not known.
            most_bytes: limit for all thumbnails together.
            until_s: by `time.monotonic`, when to stop decoding further media.
            height_px: of a thumbnail, at most.
            most_frames: of a sample.
        """
        self._config = config
        self._known_sha256 = frozenset(known_sha256)
        self._left_bytes = most_bytes
        self._until_s = until_s
        self._height_px = height_px
        self._most_frames = most_frames
        self._ledger = Ledger(config.cache.path / "media.jsonl")
        self._strips: dict[tuple[Path, tuple[MediaRef, ...]], Strip] = {}

    def strip(self, root: Path, refs: tuple[MediaRef, ...]) -> Strip:
        """Return the frames of some media, or why there are none; raises nothing."""
        if (root, refs) in self._strips:
            return self._strips[root, refs]
        if self._left_bytes <= 0:
            return Strip(missing="frames are left out to keep this page small")
        if time.monotonic() > self._until_s:
            return Strip(missing="frames are left out: decoding them took too long")
        try:
            strip = self._decode(root, refs)
        except (MediaError, OSError) as error:
            strip = Strip(missing=f"{type(error).__name__}: {error}")
        self._left_bytes -= sum(len(frame.jpeg_base64) for frame in strip.frames)
        self._strips[root, refs] = strip
        return strip

    def file(self, root: Path, ref: MediaRef) -> Path | None:
        """Return where a media file is; None where it is not what the run used.

        Raises:
            MediaError: it is not there, or cannot be read.
        """
        found = MediaLibrary(root, self._ledger).resolve(ref)
        is_known = not self._known_sha256 or found.sha256 in self._known_sha256
        return Path(found.uri) if is_known else None

    def _decode(self, root: Path, refs: tuple[MediaRef, ...]) -> Strip:
        frames: list[Thumbnail] = []
        num_seen = 0
        library = MediaLibrary(root, self._ledger)
        each = max(1, self._most_frames // max(1, len(refs)))
        for ref in refs[: self._most_frames]:
            found = library.resolve(ref)
            if self._known_sha256 and found.sha256 not in self._known_sha256:
                return Strip(missing=f"{ref.path} has changed since the run used it")
            info = probe(found, ledger=self._ledger, backend=self._config.video_backend)
            indices = self._config.frames.indices(info, found.clip_s)
            num_seen += len(indices)
            shown = decode(found, info, _evenly(sorted(set(indices)), each))
            for pixels, at_s in zip(shown.pixels_THWC, shown.timestamps_s, strict=True):
                caption = f"{at_s:.1f} s" if ref.kind == "video" else ref.path
                image = Image.fromarray(pixels)
                frames.append(_thumbnail(image, caption, self._height_px))
        return Strip(frames=tuple(frames), num_seen=num_seen)


def _evenly(indices: Sequence[int], count: int) -> list[int]:
    if len(indices) <= count:
        return list(indices)
    last = len(indices) - 1
    return sorted({indices[round(n * last / max(1, count - 1))] for n in range(count)})


def _thumbnail(image: Image.Image, caption: str, height_px: int) -> Thumbnail:
    small = image.convert("RGB")
    small.thumbnail((4 * height_px, height_px))
    content = io.BytesIO()
    small.save(content, "JPEG", quality=JPEG_QUALITY, optimize=True)
    return Thumbnail(
        jpeg_base64=base64.b64encode(content.getvalue()).decode("ascii"),
        width_px=small.width,
        height_px=small.height,
        caption=caption,
    )
