"""Looks media up: the file, the frames to use, and the keys of its stored features."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from encodeonce.cache_store.signature import FeatureKey, Signature
from encodeonce.datasets.media.decode import decode
from encodeonce.datasets.media.in_memory import Picture
from encodeonce.datasets.media.info import MediaInfo
from encodeonce.datasets.media.ledger import Ledger
from encodeonce.datasets.media.library import MediaLibrary
from encodeonce.datasets.media.media import Frames, Media, MediaError, MediaRef
from encodeonce.datasets.media.probe import probe
from encodeonce.datasets.media.sampling import FrameSampling
from encodeonce.harness.run.config import AnswerConfig
from encodeonce.models.vision.interface import Vision
from encodeonce.models.vision.visual import Unit


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaRequest:
    """A media item and the units that a run needs of it. Known without decoding."""

    media: Media
    info: MediaInfo
    signature: Signature
    units: tuple[Unit, ...]
    benchmark: str
    """Who asked: kept beside the features for information, not part of the key."""
    frames: Frames | None = None
    """All frames of a media item that has no file."""

    @property
    def keys(self) -> tuple[FeatureKey, ...]:
        """The keys of the units' features in the store."""
        digest = self.signature.digest
        return tuple(FeatureKey(self.media.sha256, digest, unit.name) for unit in self.units)

    def decode(self, units: Iterable[Unit]) -> Frames:
        """Return the frames that make up ``units``, each once, in order of time.

        Raises:
            UndecodableMedia: a frame cannot be decoded.
        """
        if self.frames is not None:
            return self.frames
        frames = sorted({frame for unit in units for frame in unit.frames})
        return decode(self.media, self.info, tuple(frames))


class MediaLookup:
    """Finds what a run needs of media. Decodes nothing, loads no weights."""

    def __init__(self, config: AnswerConfig, vision: Vision, ledger: Ledger) -> None:
        """Make a lookup with nothing in it yet.

        Args:
            config: says which frames of a video are used, and what decodes them.
            vision: says which units the frames make up, and what their features depend on.
            ledger: remembers digests and probes of files.
        """
        self._config = config
        self._vision = vision
        self._ledger = ledger
        self._libraries: dict[Path, MediaLibrary] = {}

    def request(
        self,
        root: Path,
        ref: MediaRef,
        benchmark: str,
        sampling: FrameSampling | None = None,
    ) -> MediaRequest:
        """Return what a run needs of a media file: digest, frames, keys.

        Args:
            root: folder that the file may not leave.
            ref: the media item.
            benchmark: who asks.
            sampling: which frames; by default those that the configuration says.

        Raises:
            MediaError: the file is missing, outside the root, or not what it should be.
        """
        media = self._library(root).resolve(ref)
        info = probe(media, ledger=self._ledger, backend=self._config.video_backend)
        frames = (sampling or self._config.frames).indices(info, media.clip_s)
        return self._request(media, info, frames, benchmark)

    def sha256(self, root: Path, ref: MediaRef) -> str | None:
        """Return the digest of a media file; None if there is no such file, or it is unreadable."""
        try:
            return self._library(root).resolve(ref).sha256
        except MediaError:
            return None

    def _library(self, root: Path) -> MediaLibrary:
        return self._libraries.setdefault(root, MediaLibrary(root, self._ledger))

    def request_picture(self, picture: Picture, benchmark: str) -> MediaRequest:
        """Return what a run needs of a picture that has no file."""
        frames = self._config.frames.indices(picture.info, picture.media.clip_s)
        return self._request(picture.media, picture.info, frames, benchmark, picture.frames)

    def _request(
        self,
        media: Media,
        info: MediaInfo,
        frames: Sequence[int],
        benchmark: str,
        pixels: Frames | None = None,
    ) -> MediaRequest:
        return MediaRequest(
            media=media,
            info=info,
            signature=self._vision.signature(info, frames),
            units=self._vision.units(info, frames),
            benchmark=benchmark,
            frames=pixels,
        )
