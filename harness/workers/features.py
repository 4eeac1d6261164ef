"""Gets features for a worker: from the store, and from the tower where the store lacks them."""

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from pathlib import Path

from encodeonce.cache_store.claims import Claims
from encodeonce.cache_store.coverage import coverage
from encodeonce.cache_store.features import Features
from encodeonce.cache_store.levels.leveled import LeveledStore
from encodeonce.cache_store.levels.lru import LruStore
from encodeonce.cache_store.signature import FeatureKey
from encodeonce.cache_store.store import Entry, FeatureStore, MissingFeatures
from encodeonce.harness.run.record import CacheUse
from encodeonce.harness.workers.media_lookup import MediaRequest
from encodeonce.models.timing import Stopwatch
from encodeonce.models.vision.interface import Tower
from encodeonce.models.vision.visual import Unit

CLAIM_EXPIRES_S = 15.0
"""How long the claim of a worker killed on another host keeps others from its media; one killed on
the same host is seen to be gone."""
CLAIM_POLL_S = 0.05
CLAIM_WORD_S = 1.0, 30.0
"""After how long a worker that waits for another says so, and how often it says it again."""

logger = logging.getLogger(__name__)


class FeatureSource:
    """Features of media: read where the store has them, encoded and stored where it does not."""

    def __init__(
        self,
        store: LeveledStore,
        load_tower: Callable[[], Tower] | None,
        stopwatch: Stopwatch,
        provenance: Mapping[str, str],
        memory_bytes: int = 0,
    ) -> None:
        """Make a source.

        Args:
            store: where features are looked up and put.
            load_tower: called at the first miss; None makes a miss an error.
            stopwatch: records the seconds of ``read``, ``decode``, ``preprocess``, ``encode``,
                ``write``.
            provenance: who encodes, kept beside the features.
            memory_bytes: most bytes of units, once read, kept in memory.
        """
        self._store = store
        self._reader: FeatureStore = LruStore(store, memory_bytes) if memory_bytes else store
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="read-ahead")
        self._ahead: dict[tuple[FeatureKey, ...], Future[Features]] = {}
        self._load_tower = load_tower
        self._tower: Tower | None = None
        self._stopwatch = stopwatch
        self._provenance = provenance
        self._use = CacheUse()
        self._resources = ExitStack()
        self._claims = self._resources.enter_context(
            Claims(store.folder.root, expires_s=CLAIM_EXPIRES_S)
        )

    def take_use(self) -> CacheUse:
        """Return the look-ups (misses included), encodings and transfers since the last call."""
        use, self._use = self._use, CacheUse()
        return use

    def ensure(self, request: MediaRequest) -> None:
        """Encode and store the units that are missing or damaged; decodes only their frames.

        Raises:
            MissingFeatures: units are missing and there is no tower to encode them.
            MediaError: the media item does not decode.
        """
        self._fill(request, coverage(self._store, request.keys).to_encode)

    def fetch(self, request: MediaRequest) -> Features:
        """Return the features of all units of a request, in order; see `ensure`."""
        try:
            features = self._read(request)
        except MissingFeatures as error:
            self._fill(request, error.missing)
            return self._read(request)
        self._fill(request, ())
        return features

    def encode(self, request: MediaRequest, units: tuple[Unit, ...]) -> Features:
        """Decode and encode some units of a request, whatever the store has; store nothing.

        Allowed only where there is a tower.

        Raises:
            MediaError: the media item does not decode.
        """
        tower = self._loaded_tower()
        with self._stopwatch.stage("decode"):
            frames = request.decode(units)
        with self._stopwatch.stage("preprocess"):
            pixels = tower.preprocess(frames, request.signature)
        with self._stopwatch.stage("encode"):
            features = tower.encode(pixels)
        self._use += CacheUse(num_frames_decoded=len(frames.timestamps_s))
        return features

    def read_ahead(self, request: MediaRequest) -> None:
        """Start reading what `fetch` will be asked for next."""
        self._ahead[request.keys] = self._thread.submit(self._reader.get, request.keys)

    def close(self) -> None:
        """Stop the threads, release all claims, and drop the tower."""
        self._thread.shutdown(cancel_futures=True)
        self._resources.close()
        self._tower = None

    def _read(self, request: MediaRequest) -> Features:
        with self._stopwatch.stage("read"):
            ahead = self._ahead.pop(request.keys, None)
            features = ahead.result() if ahead else self._reader.get(request.keys)
        self._use += CacheUse(bytes_read=features.nbytes)
        return features

    def _fill(self, request: MediaRequest, missing: Sequence[FeatureKey]) -> None:
        """Count hits and misses; encode and store the units that are missing."""
        num_units = len(request.units)
        self._use += CacheUse(
            num_units=num_units,
            num_hits=num_units - len(missing),
            num_hits_below=self._store.num_below(request.keys),
        )
        if not missing:
            return
        if self._load_tower is None:
            raise MissingFeatures(missing, request.media.uri)
        with self._claimed(request):
            # The previous holder of the claim may have encoded them meanwhile.
            left = {key.unit for key in coverage(self._store, request.keys).to_encode}
            units = tuple(unit for unit in request.units if unit.name in left)
            if units:
                self._encode_and_store(request, units)

    @contextmanager
    def _claimed(self, request: MediaRequest) -> Iterator[None]:
        """Wait until no other worker encodes this media item; claim it for the block."""
        key = request.keys[0]
        with self._stopwatch.stage("wait"):
            next_word_s = time.monotonic() + CLAIM_WORD_S[0]
            while not self._claims.acquire(key):
                if time.monotonic() >= next_word_s:
                    next_word_s = time.monotonic() + CLAIM_WORD_S[1]
                    self._say_who_has(request)
                time.sleep(CLAIM_POLL_S)
        try:
            yield
        finally:
            self._claims.release(key)

    def _say_who_has(self, request: MediaRequest) -> None:
        claim = self._claims.others(request.keys[0])
        if claim is not None:
            until = datetime.now() + timedelta(seconds=claim.left_s)
            logger.warning(
                "%s is being encoded by %s, which is waited for; its last sign of life was %.0f s "
                "ago, and without another one it is encoded here from %s on",
                *(request.media.uri, claim.holder, claim.silent_s, f"{until:%H:%M:%S}"),
            )

    def _encode_and_store(self, request: MediaRequest, units: tuple[Unit, ...]) -> None:
        features = self.encode(request, units)
        entry = Entry(
            signature=request.signature,
            media=request.media.sha256,
            units=tuple(unit.name for unit in units),
            features=features,
            provenance={
                "benchmark": request.benchmark,
                "file": Path(request.media.uri).name,
                **self._provenance,
            },
        )
        with self._stopwatch.stage("write"):
            self._store.put([entry])
        self._use += CacheUse(num_encoded=len(units), bytes_written=features.nbytes)

    def prepare(self) -> None:
        """Load the tower now, not at the first miss."""
        self._loaded_tower()

    def _loaded_tower(self) -> Tower:
        if self._tower is None:
            assert self._load_tower is not None
            with self._stopwatch.stage("load"):
                self._tower = self._load_tower()
        return self._tower
