"""Where a namespace's units are: the newest snapshot's table, and what the log has said since."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from encodeonce.cache_store.unit_table import Place, UnitTable


class LiveUnits:
    """The live units and the damaged ones, by digest; packs go by their numbers.

    Made for one thread at a time: `NamespaceIndex` holds its lock around every call.
    """

    def __init__(self) -> None:
        self._table = UnitTable.of([])
        """Units of the snapshot."""
        self._hidden: set[bytes] = set()
        """Those of them that were found damaged since."""
        self._recent: dict[bytes, Place] = {}
        """Units that were committed since."""
        self._damaged: dict[bytes, Place] = {}
        self._dropped: set[int] = set()

    @property
    def num_in_table(self) -> int:
        """Units in the snapshot."""
        return len(self._table)

    @property
    def num_recent(self) -> int:
        """Units committed since the snapshot."""
        return len(self._recent)

    def restart(self, live: UnitTable, damaged: UnitTable, dropped: Iterable[int]) -> None:
        """Begin again with the contents of a snapshot."""
        self._table, self._recent, self._hidden = live, {}, set()
        self._damaged = dict(damaged.rows())
        self._dropped = set(dropped)

    def locate(self, digests: Sequence[bytes]) -> list[Place | None]:
        """Return where units are; None where they are not live."""
        old = [digest for digest in digests if digest not in self._recent]
        found = dict(zip(old, self._table.find(old), strict=True))
        return [self._place(digest, found.get(digest)) for digest in digests]

    def _place(self, digest: bytes, position: int | None) -> Place | None:
        place = self._recent.get(digest)
        if place is None and position is not None and digest not in self._hidden:
            place = self._table.place(position)
        return None if place is None or place[0] in self._dropped else place

    def is_damaged(self, digest: bytes) -> bool:
        """Say whether a unit was stored, was found damaged, and was not stored again."""
        place = self._damaged.get(digest)
        return place is not None and place[0] not in self._dropped

    def num_damaged(self) -> int:
        """Return how many units are damaged and not stored again."""
        return sum(self.is_damaged(digest) for digest in self._damaged)

    def add(self, rows: Mapping[bytes, int], pack: int, instead_of: set[int]) -> None:
        """Put a pack's units in, except for those that are live already.

        Args:
            rows: row of each unit in the pack.
            pack: number of the pack.
            instead_of: packs whose live units the new ones replace.
        """
        for (digest, row), place in zip(rows.items(), self.locate(list(rows)), strict=True):
            if place is None or place[0] in instead_of:
                self._recent[digest] = (pack, row)
                self._damaged.pop(digest, None)

    def drop(self, pack: int) -> None:
        """End the units of a pack."""
        self._dropped.add(pack)

    def mark_damaged(self, digests: Sequence[bytes], pack: int | None) -> None:
        """End units, as far as they live in this pack, and remember that they are damaged."""
        for digest, place in zip(digests, self.locate(digests), strict=True):
            if place is not None and place[0] == pack:
                self._recent.pop(digest, None)
                self._hidden.add(digest)
                self._damaged[digest] = place

    def live_table(self) -> UnitTable:
        """Return all live units."""
        dropped = np.fromiter(self._dropped, np.uint32, len(self._dropped))
        stay = ~np.isin(self._table.pack, dropped)
        for position in self._table.find([*self._hidden, *self._recent]):
            if position is not None:
                stay[position] = False
        return self._table.where(stay).merged(UnitTable.of(self._kept(self._recent)))

    def damaged_table(self) -> UnitTable:
        """Return all damaged units."""
        return UnitTable.of(self._kept(self._damaged))

    def _kept(self, units: Mapping[bytes, Place]) -> list[tuple[bytes, Place]]:
        return [(digest, place) for digest, place in units.items() if place[0] not in self._dropped]
