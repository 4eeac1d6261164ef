"""The store in memory."""

from pathlib import Path

from encodeonce.cache_store.levels.memory import MemoryStore
from tests.contracts.store import StoreContract


class TestMemoryStore(StoreContract):
    def open_store(self, folder: Path) -> MemoryStore:
        return MemoryStore()
