"""vLLM's encoder outputs in our store: found again by other processes, on other days.

vLLM knows a media item by a digest of its content and of what its processor was told. That digest
knows nothing of weights, which are in the signature (`identity.py`).

Shapes: N tokens, D width.
"""

import logging
import queue
import re
import threading
from collections import Counter
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from encodeonce.cache_store.features import MAIN, Features
from encodeonce.cache_store.hdf5 import Hdf5Store
from encodeonce.cache_store.signature import FeatureKey, Signature
from encodeonce.cache_store.store import CorruptFeatures, Entry, MissingFeatures, StoreError

logger = logging.getLogger(__name__)

Array = np.ndarray[Any, np.dtype[Any]]
UNIT = "encoder output"
_DIGEST = re.compile(r"[0-9a-f]{64}|[0-9a-f]{128}")
"""What vLLM's hashes of content look like. Others are names that clients gave: the same name may
mean another picture tomorrow."""
MAX_TOGETHER = 64
"""Most outputs that are committed at once."""


class EncoderStore:
    """One server's view of the store. `keep` returns at once; `close` waits for what it began."""

    def __init__(
        self,
        path: Path,
        signature: Signature,
        provenance: Mapping[str, Any],
        *,
        read_only: bool = False,
        codec: str = "zstd",
    ) -> None:
        """Open it; nothing is made before the first output is kept.

        Args:
            path: folder of the store.
            signature: what the outputs depend on, besides the media item.
            provenance: who encodes, for people.
            read_only: whether nothing is kept.
            codec: as `Hdf5Store` takes it.
        """
        self._store = Hdf5Store(path, codec=codec)
        self._signature, self._provenance = signature, provenance
        self._read_only = read_only
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._waiting: queue.Queue[tuple[str, Array] | None] = queue.Queue()
        self._writer: threading.Thread | None = None

    def has(self, identifier: str) -> bool:
        """Say whether an item's output is there, unread."""
        return bool(_DIGEST.fullmatch(identifier)) and self._key(identifier) in self._store

    def find(self, identifier: str) -> Array | None:
        """Return a media item's output (N, D), its checksums compared; None if it is not there.

        Damage, and a store that cannot be read, are misses with a warning.
        """
        if not _DIGEST.fullmatch(identifier):
            return None
        key = self._key(identifier)
        try:
            if key not in self._store:
                return None
            features = self._store.get([key])
        except MissingFeatures:  # collected since
            return None
        except CorruptFeatures as error:
            self._count("damaged")
            logger.warning("stored output is damaged, and is computed again: %s", error)
            return None
        except StoreError as error:
            self._count("failed")
            logger.warning("the store cannot be read; outputs are computed: %s", error)
            return None
        found: Array = features.arrays[MAIN][0]
        self._count("loaded")
        self._count("loaded bytes", found.nbytes)
        return found

    def keep(self, identifier: str, output_ND: Array) -> None:
        """Store a media item's output soon, in a thread of its own."""
        if self._read_only:
            return
        if not _DIGEST.fullmatch(identifier):
            self._count("named by clients")
            return
        if self._writer is None:
            self._writer = threading.Thread(target=self._write, name="encoder-store", daemon=True)
            self._writer.start()
        self._waiting.put((identifier, output_ND))

    def take_counts(self) -> dict[str, int]:
        """Return what was done since the last call."""
        with self._lock:
            counts, self._counts = self._counts, Counter()
        return dict(counts)

    def close(self) -> None:
        """Wait until everything kept is durable."""
        if self._writer is not None:
            self._waiting.put(None)
            self._writer.join()
            self._writer = None

    def _write(self) -> None:
        is_open = True
        while is_open:
            together = [self._waiting.get()]
            while len(together) < MAX_TOGETHER and not self._waiting.empty():
                together.append(self._waiting.get())
            is_open = None not in together
            entries = [self._entry(*one) for one in together if one is not None]
            try:
                self._store.put(entries)
            except (StoreError, ValueError) as error:
                self._count("failed", len(entries))
                logger.warning("%d encoder outputs were not stored: %s", len(entries), error)
            else:
                self._count("stored", len(entries))
                self._count("stored bytes", sum(one.features.nbytes for one in entries))

    def _entry(self, identifier: str, output_ND: Array) -> Entry:
        return Entry(
            signature=self._signature,
            media=self._key(identifier).media,
            units=(UNIT,),
            features=Features({MAIN: output_ND[None]}),
            provenance=self._provenance,
        )

    def _key(self, identifier: str) -> FeatureKey:
        # vLLM's digests may be of 64 bytes; the store's are of 32.
        media = sha256(f"vllm {identifier}".encode()).hexdigest()
        return FeatureKey(media, self._signature.digest, UNIT)

    def _count(self, what: str, by: int = 1) -> None:
        with self._lock:
            self._counts[what] += by
