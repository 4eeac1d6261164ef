"""Find out what a media file holds, once: the ledger remembers it."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Literal

from encodeonce.datasets.media.backends import decord, pillow, pyav, torchcodec
from encodeonce.datasets.media.info import MediaInfo, VideoIndex
from encodeonce.datasets.media.ledger import Ledger
from encodeonce.datasets.media.media import Media, MediaError
from encodeonce.datasets.media.packet_index import build_index

VideoBackend = Literal["auto", "decord", "pyav", "torchcodec"]
"""``auto`` reads with decord where it is known to be exact, and with PyAV elsewhere."""


_INDEX_VERSION = 2
"""Raised when an index comes to say more, so that videos are indexed anew."""

_DESCRIPTION_VERSION = 2
"""The same for pictures."""


class UnsuitableBackend(MediaError):
    """A reader was asked for by name, but is absent or would return wrong frames."""


def probe(media: Media, *, ledger: Ledger, backend: VideoBackend = "auto") -> MediaInfo:
    """Return what ``media`` holds and which backend will read it.

    Nothing is opened where the ledger knows the file's content under the same library versions.

    Raises:
        UndecodableMedia: the file is damaged, truncated, or of another kind.
        EmptyMedia: a video without frames.
        UnsuitableBackend: ``backend`` names decord or torchcodec, which would not be exact.
    """
    if media.kind == "image":
        return _probe_image(media, ledger)
    index = _video_index(media, ledger)
    reader = _reader(media, index, backend, ledger)
    decoder = _IDENTITIES[reader]() or pyav.identity()
    unit_s = index.time_base[0] / index.time_base[1]
    timestamps_s = tuple((pts - index.pts[0]) * unit_s for pts in index.pts)
    return MediaInfo(
        kind="video",
        width=index.width,
        height=index.height,
        codec=index.codec,
        timestamps_s=timestamps_s,
        fps=(len(timestamps_s) - 1) / timestamps_s[-1] if len(timestamps_s) > 1 else 0.0,
        backend=reader,
        decoder=decoder + (f", {index.orientation}" if index.orientation else ""),
        index=index,
    )


def _probe_image(media: Media, ledger: Ledger) -> MediaInfo:
    key = ("probe", media.sha256, "image", _DESCRIPTION_VERSION, pillow.identity(""))
    known = ledger.get(key)
    if known is None:
        known = list(pillow.describe(media.uri))
        ledger.put(key, known)
    codec, width, height, has_transparency = known
    return MediaInfo(
        kind="image",
        width=width,
        height=height,
        codec=codec,
        timestamps_s=(0.0,),
        fps=0.0,
        backend="pillow",
        # Only these had other pixels in earlier versions, which dropped transparency.
        decoder=pillow.identity(codec) + (", on white" if has_transparency else ""),
        index=None,
    )


def _video_index(media: Media, ledger: Ledger) -> VideoIndex:
    versions = f"{pyav.identity()}; {decord.identity()}"
    key = ("probe", media.sha256, "video", _INDEX_VERSION, versions)
    known: dict[str, Any] | None = ledger.get(key)
    if known is not None:
        return VideoIndex.from_json(known)
    index = build_index(media.uri)
    if index.decord_refusal is None:
        refusal: str | None = "decord cannot be imported"
        if decord.identity() is not None:
            refusal = decord.disagreement(media.uri, index)
        index = dataclasses.replace(index, decord_refusal=refusal)
    ledger.put(key, index.to_json())
    return index


_Reader = Literal["decord", "pyav", "torchcodec"]

_IDENTITIES: Mapping[_Reader, Callable[[], str | None]] = {
    "decord": lambda: decord.identity(),
    "pyav": lambda: pyav.identity(),
    "torchcodec": lambda: torchcodec.identity(),
}


def _reader(media: Media, index: VideoIndex, backend: VideoBackend, ledger: Ledger) -> _Reader:
    """Return what reads a video.

    Raises:
        UnsuitableBackend: it was named, and would not be exact.
    """
    if backend == "pyav":
        return "pyav"
    if backend == "torchcodec":
        refusal = _torchcodec_refusal(media, index, ledger)
    else:
        refusal = index.decord_refusal
    if refusal is None:
        return "torchcodec" if backend == "torchcodec" else "decord"
    if backend == "auto":
        return "pyav"
    raise UnsuitableBackend(
        f"{media.uri}: {backend} would not return exactly the frames asked for ({refusal}); use "
        "the video backend 'auto' or 'pyav'"
    )


def _torchcodec_refusal(media: Media, index: VideoIndex, ledger: Ledger) -> str | None:
    """Return why torchcodec would not return exactly the frames of an index; None if it would."""
    identity = torchcodec.identity()
    if identity is None:
        return (
            "torchcodec cannot be imported; it needs a build for this PyTorch and FFmpeg's "
            "libraries on the system"
        )
    key = ("torchcodec", media.sha256, identity, pyav.identity(), _INDEX_VERSION)
    known: list[str | None] | None = ledger.get(key)
    if known is None:
        known = [torchcodec.disagreement(media.uri, index)]
        ledger.put(key, known)
    return known[0]
