"""Prefixes of a block's media: what the base has, adapters that begin behind it share."""

from collections.abc import Sequence

from encodeonce.datasets.media.media import MediaRef
from encodeonce.harness.run.plan import Branch
from encodeonce.models.decoder import PrefixDecoder
from encodeonce.models.family import Decoder
from encodeonce.models.kv.budget import cache_bytes
from encodeonce.models.language.prefix import Prefix
from encodeonce.models.vision.visual import Visual


class Prefixes:
    """Prefills media, unless the base's prefix is there and will do."""

    def __init__(self, max_gib: float | None) -> None:
        """Hold none.

        Args:
            max_gib: of prefixes that are held for others; what is too much is computed again. See
                `budget.cache_bytes`.
        """
        self._max_gib = max_gib
        self._held: dict[tuple[tuple[MediaRef, ...], tuple[str, ...]], Prefix] = {}

    def take(
        self, decoder: Decoder, branch: Branch, visuals: Sequence[Visual], adapter: int
    ) -> Prefix:
        """Return the prefix of a branch under an adapter."""
        if not isinstance(decoder, PrefixDecoder) or not decoder.has_activated:
            return decoder.prefill(visuals, branch.settings, adapter=adapter)
        key = branch.group.media, tuple(kv.title for kv in branch.settings)
        if key in self._held:
            shared = decoder.continuing(self._held[key], adapter)
            if shared is not None:
                return shared
        prefix = decoder.prefill(visuals, branch.settings, adapter=adapter)
        if prefix.is_of_base:
            self._hold(key, prefix, cache_bytes(decoder.model.device, self._max_gib))
        return prefix

    def _hold(
        self, key: tuple[tuple[MediaRef, ...], tuple[str, ...]], prefix: Prefix, most: int
    ) -> None:
        """Keep a prefix in place of the oldest, of which there are too many."""
        self._held[key] = prefix
        while sum(one.nbytes for one in self._held.values()) > most:
            del self._held[next(iter(self._held))]
