"""What a worker, and the driver's look at the store, set up from a configuration."""

import socket
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from encodeonce.cache_store.hdf5 import Hdf5Store
from encodeonce.datasets.media.digest import file_sha256
from encodeonce.datasets.media.in_memory import Picture
from encodeonce.datasets.media.info import MediaInfo
from encodeonce.datasets.media.ledger import Ledger
from encodeonce.datasets.media.library import MediaLibrary
from encodeonce.datasets.media.media import Frames, Media, MediaRef
from encodeonce.datasets.media.probe import probe
from encodeonce.datasets.media.sampling import FrameSampling
from encodeonce.harness.run.config import AnswerConfig
from encodeonce.harness.run.variant import Meanings, describe_variants
from encodeonce.harness.workers.features import FeatureSource, MediaRequest
from encodeonce.models.checkpoint.files import checkpoint_digest, device
from encodeonce.models.family import Decoder, find_family
from encodeonce.models.kv.method import find_method
from encodeonce.models.kv.spec import KVSpec
from encodeonce.models.quantization.method import check_weights
from encodeonce.models.spec import WeightsSpec
from encodeonce.models.timing import Stopwatch


class Workplace:
    """Checkpoint, vision side and media of a run. Loads no weights."""

    def __init__(self, config: AnswerConfig) -> None:
        """Find the checkpoint and describe its vision side.

        Raises:
            CheckpointError: there is no such checkpoint, no family for it, or its chat template
                puts the question before the media.
        """
        self.config = config
        self.family, self.checkpoint = find_family(config.model)
        self.family.check_prompts(self.checkpoint)
        self.vision = self.family.vision(self.checkpoint, config.model, config.vision)
        # Beside the store, so that a file is hashed and probed once for all runs and machines.
        self._ledger = Ledger(config.cache.path / "media.jsonl")
        self._libraries: dict[Path, MediaLibrary] = {}

    def open_store(self) -> Hdf5Store:
        """Open the run's feature store, creating it if it is not there."""
        return Hdf5Store(self.config.cache.path / "features", codec=self.config.cache.codec)

    def feature_source(self, stopwatch: Stopwatch) -> FeatureSource:
        """Return where answers take features from: with the tower only if a miss is to be encoded.

        Args:
            stopwatch: takes the seconds.
        """
        return FeatureSource(
            self.open_store(),
            self.vision.load if self.config.cache.on_miss == "encode" else None,
            stopwatch,
            self.provenance(),
            memory_bytes=self.config.cache.memory_mib * 2**20,
        )

    def provenance(self) -> dict[str, str]:
        """Return who encodes here: what the signature leaves out, but somebody may want to know."""
        return {
            "model": self.config.model.path,
            "host": socket.gethostname(),
            "device": str(device(self.config.model)),
            "software": f"torch {version('torch')}, transformers {version('transformers')}",
        }

    def request(
        self,
        root: Path,
        ref: MediaRef,
        benchmark: str,
        sampling: FrameSampling | None = None,
    ) -> MediaRequest:
        """Return what the run needs of a media: digest, frames, keys. Decodes nothing.

        Args:
            root: folder that the media may not leave.
            ref: the media.
            benchmark: who asks.
            sampling: which frames; by default those that the run's configuration says.

        Raises:
            MediaError: the file is missing, outside the root, or not what it should be.
        """
        if root not in self._libraries:
            self._libraries[root] = MediaLibrary(root, self._ledger)
        media = self._libraries[root].resolve(ref)
        info = probe(media, ledger=self._ledger, backend=self.config.video_backend)
        frames = (sampling or self.config.frames).indices(info, media.clip_s)
        return self._request(media, info, frames, benchmark)

    def request_picture(self, picture: Picture, benchmark: str) -> MediaRequest:
        """Return what the run needs of a picture that has no file."""
        frames = self.config.frames.indices(picture.info, picture.media.clip_s)
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
            signature=self.vision.signature(info, frames),
            units=self.vision.units(info, frames),
            benchmark=benchmark,
            frames=pixels,
        )

    def decoder(self, weights: WeightsSpec) -> Decoder:
        """Load the language side with a variant's weights."""
        return self.family.decoder(self.checkpoint, self.config.model, self.config.vision, weights)

    def variants(self, weights: Sequence[WeightsSpec], kv: Sequence[KVSpec]) -> Meanings:
        """Return what variants mean.

        Raises:
            ValueError: weights cannot be loaded that way, a file is not there, or a KV method's
                options were made for another model.
        """
        for spec in weights:
            check_weights(spec, self.config.model, self.checkpoint)
        if methods := [method for method in map(find_method, kv) if method]:
            checkpoint_sha256 = self.checkpoint_sha256()
            for method in methods:
                method.check_model(checkpoint_sha256)
        return describe_variants(weights, kv, self._sha256)

    def checkpoint_sha256(self) -> str:
        """Return the digest of the checkpoint's files; a file is read again only if it changed."""
        return self._sha256(self.checkpoint)

    def _sha256(self, path: Path) -> str:
        if path.is_dir():
            return checkpoint_digest(path, lambda file: file_sha256(file, self._ledger))
        return file_sha256(path, self._ledger)
