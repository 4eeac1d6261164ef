"""Compares rows of compressed caches with the full cache's answers, while an engine has both."""

from collections.abc import Hashable, Sequence
from typing import Any

from encodeonce.models.kv.fidelity import fidelities
from encodeonce.models.kv.waves import Row, Seat
from encodeonce.models.language.generation import Answering


class Comparing:
    """The full cache's answers, kept while rows of the same group may still need them."""

    def __init__(self, model: Any) -> None:
        """Begin with none; ``model`` is of transformers."""
        self._model = model
        self._asking: Hashable = None
        self._expected: dict[tuple[Hashable, int], Answering] = {}

    def begin(self, key: Hashable) -> None:
        """Take note that a group is being read: its later rows need its answers."""
        self._asking = key

    def expect(self, rows: Sequence[Row]) -> None:
        """Keep the answers of rows of the full cache."""
        self._expected |= {(row.key, row.question): row.answer for row in rows}

    def compare(self, seat: Seat) -> None:
        """Measure how a seat's caches continue the full cache's answers."""
        answers = [self._expected[row.key, row.question] for row in seat.rows]
        close = fidelities(self._model, seat.prefix, seat.forks, answers, seat.questions)
        for row, one in zip(seat.rows, close, strict=True):
            row.fidelity = one

    def forget(self) -> None:
        """Drop all answers but those of the group that is being read."""
        self._expected = {at: one for at, one in self._expected.items() if at[0] == self._asking}
