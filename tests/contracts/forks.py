"""Looks at the forks that an engine makes."""

from typing import Any

import pytest

from encodeonce.models.kv import engine, likelihoods
from encodeonce.models.kv.compress import compress
from encodeonce.models.kv.forks import Fork


class Forks:
    """Records the forks that are made."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.made: list[Fork] = []
        for module in (engine, likelihoods):
            monkeypatch.setattr(module, "compress", self._compress)

    def _compress(self, *args: Any) -> list[Fork]:
        found = compress(*args)
        self.made += found
        return found
