"""Who waits where: the places of rows in the running batches to come."""

from collections.abc import Sequence
from typing import Literal

from encodeonce.models.kv.waves import Row, Seat, Wave

Scope = Literal["question", "media"]
"""What a setting compresses: the prompt behind its question, or the media alone."""


class Seating:
    """The rows that wait to be decoded, by the settings that are decoded together.

    A place counts once, however many settings its question is answered under: their rows follow
    each other in the batch.

    Attributes:
        waves: by the numbers of their settings, in the order in which they were begun.
        rows: all that wait, and those that have ended already.
    """

    def __init__(self, num_places: int) -> None:
        """Begin with vacant places; ``num_places`` for each setting."""
        self.waves: dict[tuple[int, ...], Wave] = {}
        self.rows: list[Row] = []
        self._num_places = num_places
        self._taken: dict[Scope, set[int]] = {"question": set(), "media": set()}

    def is_free(self, scope: Scope, place: int, count: int) -> bool:
        """Return whether some places in a row are vacant."""
        return self._taken[scope].isdisjoint(range(place, place + count))

    def take(self, scope: Scope, place: int, count: int) -> None:
        """Take some places in a row."""
        self._taken[scope].update(range(place, place + count))

    def wait(self, settings: Sequence[int], seat: Seat) -> None:
        """Let rows wait for the others that are decoded together under these settings."""
        num_places = self._num_places * len(settings)
        wave = self.waves.setdefault(tuple(settings), Wave(num_places=num_places))
        wave.seats.append(seat)

    @property
    def nbytes(self) -> int:
        """Of the caches that wait, prefixes included."""
        seats = [seat for wave in self.waves.values() for seat in wave.seats]
        prefixes = {id(seat.prefix.cache): seat.prefix.nbytes for seat in seats}
        return sum(prefixes.values()) + sum(seat.allocated_bytes for seat in seats)
