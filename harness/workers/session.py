"""A session: one model with its feature store, set up once for whoever answers from it.

Workers, bridges, calibration and `bench` all begin here.
"""

import socket
from collections.abc import Collection, Sequence
from contextlib import ExitStack, closing
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from encodeonce.cache_store.levels.leveled import LeveledStore
from encodeonce.datasets.media.digest import file_sha256
from encodeonce.datasets.media.ledger import Ledger
from encodeonce.datasets.media.media import MediaRef
from encodeonce.datasets.media.sampling import FrameSampling
from encodeonce.harness.run.config import AnswerConfig
from encodeonce.harness.run.meanings import describe_variants
from encodeonce.harness.run.variant import Meanings
from encodeonce.harness.workers.decoder_slot import DecoderSlot
from encodeonce.harness.workers.features import FeatureSource
from encodeonce.harness.workers.media_lookup import MediaLookup, MediaRequest
from encodeonce.harness.workers.stores import check_places, ledgers, open_store
from encodeonce.models.adapters.checkpoint import read_adapter
from encodeonce.models.adapters.lora_config import AdapterError
from encodeonce.models.adapters.spec import AdapterSpec
from encodeonce.models.checkpoint.files import checkpoint_digest, device
from encodeonce.models.engine_spec import TRANSFORMERS, EngineSpec
from encodeonce.models.family import Decoder, Reference, find_family
from encodeonce.models.kv.registry import find_method
from encodeonce.models.kv.spec import KVSpec
from encodeonce.models.language.context import head_shape, whole_layers
from encodeonce.models.quantization.method import check_weights
from encodeonce.models.spec import WeightsSpec
from encodeonce.models.timing import Stopwatch
from encodeonce.models.vision.visual import Decoded, Visual
from encodeonce.models.vllm.loading import check_vllm, load_vllm

OnMiss = Literal["error", "encode"]
"""What to do about units that the store lacks."""


class Session:
    """A model's vision side, its store, its stopwatch, and room for one decoder.

    Making one loads no weights and opens no store: `store` and `features` open when first used,
    the tower is loaded at the first miss to be encoded, a decoder when `decoder_slot` is asked for
    it. Use as a context manager, or close it; closing twice does no harm.

    Attributes:
        stopwatch: seconds of all work done here, by stage.
        media: finds media and their keys, untimed.
        decoder_slot: holds one weight variant's decoder at a time.
    """

    def __init__(
        self,
        config: AnswerConfig,
        on_miss: OnMiss | None = None,
        adapters: Sequence[AdapterSpec | None] = (),
        engine: EngineSpec = TRANSFORMERS,
        *,
        merged: bool = False,
    ) -> None:
        """Find the checkpoint and describe its vision side.

        Args:
            config: model, frames and store.
            on_miss: what to do about units that the store lacks; by default what
                ``config.cache.on_miss`` says.
            adapters: that every decoder has beside it; None, the base, needs nothing.
            engine: what decodes.
            merged: whether adapters take turns in the weights, instead of standing beside them.

        Raises:
            CheckpointError: there is no such checkpoint, no family for it, or its chat template
                puts the question before the media.
            StoreError: what ``cache.readonly`` names is no feature store.
        """
        self._config = config
        self._on_miss = on_miss or config.cache.on_miss
        self._family, self._checkpoint = find_family(config.model)
        self._family.check_prompts(self._checkpoint)
        self._vision = self._family.vision(self._checkpoint, config.model, config.vision)
        check_places(config.cache)
        # Beside the store, so that a file is hashed and probed once for all runs and machines.
        self._ledger = Ledger(config.cache.path / "media.jsonl", also=ledgers(config.cache))
        self._resources = ExitStack()
        self.stopwatch = Stopwatch()
        self.media = MediaLookup(config, self._vision, self._ledger)
        self._adapters = [one for one in adapters if one is not None]
        self._are_merged = merged
        self._engine = engine
        self.decoder_slot = DecoderSlot(self._load_decoder)

    def __enter__(self) -> Self:
        """Return the session."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the session."""
        self.close()

    def close(self) -> None:
        """Stop the threads, release all claims, and drop the weights.

        Everything put into the store is durable before that.
        """
        self._resources.close()
        self.decoder_slot.empty()

    @cached_property
    def store(self) -> LeveledStore:
        """The feature store, created if it does not exist, above those that are only read."""
        return open_store(self._config.cache)

    @cached_property
    def features(self) -> FeatureSource:
        """The source of features; has a tower only if misses are to be encoded."""
        source = FeatureSource(
            self.store,
            self._vision.load if self._on_miss == "encode" else None,
            self.stopwatch,
            self._provenance(),
            memory_bytes=self._config.cache.memory_mib * 2**20,
        )
        return self._resources.enter_context(closing(source))

    def look_up(
        self,
        root: Path,
        ref: MediaRef,
        benchmark: str,
        sampling: FrameSampling | None = None,
    ) -> MediaRequest:
        """Return the result of `MediaLookup.request`, its seconds booked on ``look up``."""
        with self.stopwatch.stage("look up"):
            return self.media.request(root, ref, benchmark, sampling)

    def media_sha256(self, root: Path, refs: Sequence[MediaRef]) -> tuple[str, ...]:
        """Return the digests of media files; none at all if one of them is not known."""
        found = [self.media.sha256(root, ref) for ref in refs]
        known = tuple(one for one in found if one is not None)
        return known if len(known) == len(refs) else ()

    def visual(self, request: MediaRequest) -> Visual:
        """Return a media item as the language side takes it: with features from the store.

        Raises:
            MissingFeatures: units are missing and must not be encoded.
            MediaError: the media item has to be decoded and cannot be.
        """
        features = self.features.fetch(request)
        return Visual(info=request.info, units=request.units, features=features)

    def decoded(self, request: MediaRequest) -> Decoded:
        """Return a media item as the whole model takes it: decoded, without the store.

        Raises:
            UndecodableMedia: a frame cannot be decoded.
        """
        with self.stopwatch.stage("decode"):
            frames = request.decode(request.units)
        return Decoded(info=request.info, units=request.units, frames=frames)

    def _load_decoder(self, weights: WeightsSpec) -> Decoder:
        model, vision = self._config.model, self._config.vision
        if self._engine.is_vllm:
            max_batch = self._config.generation.max_batch
            source = (self._family, self._checkpoint, model, vision, weights)
            return load_vllm(*source, self._adapters, self._engine, max_batch)
        decoder = self._family.decoder(self._checkpoint, model, vision, weights)
        if self._adapters:
            decoder.load_adapters(self._adapters, are_merged=self._are_merged)
        return decoder

    def load_reference(self) -> Reference:
        """Load the whole model, as plain transformers runs it."""
        return self._family.reference(self._checkpoint, self._config.model)

    def check_weights(self, weights: WeightsSpec) -> None:
        """Check, before anything is loaded, that a weight variant can be loaded.

        Raises:
            WeightsError: it cannot be loaded here, or not from this checkpoint.
        """
        check_weights(weights, self._config.model, self._checkpoint)
        if self._engine.is_vllm:
            check_vllm(self._family, self._checkpoint, self._config.model, weights)

    def variants(
        self,
        weights: Sequence[WeightsSpec],
        kv: Sequence[KVSpec],
        adapters: Sequence[AdapterSpec | None] = (None,),
        *,
        needing_heads: Collection[str] = (),
    ) -> Meanings:
        """Return the meanings of variants.

        Args:
            weights: weight variants.
            kv: cache variants.
            adapters: adapters; None is the base.
            needing_heads: titles of the adapters that answer a benchmark by their heads.

        Raises:
            ValueError: weights cannot be loaded that way, a file is missing, an adapter is not
                handled, or a KV method's options were made for another model.
        """
        for adapter in adapters:
            if adapter is None:
                continue
            if read_adapter(adapter).head is None and adapter.title in needing_heads:
                raise AdapterError(
                    f"scoring: head needs adapters that were trained with a head; {adapter.title} "
                    "has none. Train it with 'head' in TRAIN.yaml"
                )
        for spec in weights:
            self.check_weights(spec)
        if methods := [method for method in map(find_method, kv) if method]:
            checkpoint_sha256 = self.checkpoint_sha256()
            config = self._family.language_config(self._checkpoint)
            layers, (_, head_width) = whole_layers(config), head_shape(config)
            for method in methods:
                method.check_model(checkpoint_sha256)
                method.check_shape(layers, head_width)
        return describe_variants(weights, kv, self._sha256, adapters)

    def checkpoint_sha256(self) -> str:
        """Return the digest of the checkpoint's files; a file is read again only if it changed."""
        return self._sha256(self._checkpoint)

    def _sha256(self, path: Path) -> str:
        if path.is_dir():
            return checkpoint_digest(path, lambda file: file_sha256(file, self._ledger))
        return file_sha256(path, self._ledger)

    def _provenance(self) -> dict[str, str]:
        """Return who encodes here: facts of interest that the signature leaves out."""
        return {
            "model": self._config.model.path,
            "host": socket.gethostname(),
            "device": str(device(self._config.model)),
            "software": f"torch {version('torch')}, transformers {version('transformers')}",
        }
