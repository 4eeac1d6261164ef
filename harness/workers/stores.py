"""The feature store that a run file asks for: one's own, above those that are only read."""

from pathlib import Path

from encodeonce.cache_store.hdf5 import Hdf5Store
from encodeonce.cache_store.layout import store_folder
from encodeonce.cache_store.levels.leveled import LeveledStore
from encodeonce.cache_store.objects.bucket import Bucket
from encodeonce.cache_store.objects.home import ObjectHome
from encodeonce.harness.run.cache_spec import CacheSpec


def open_store(cache: CacheSpec) -> LeveledStore:
    """Open a cache; it is created, if it does not exist, by the first put.

    Raises:
        StoreError: it is in an unknown format, or one that is only read is not there.
    """
    home = None if cache.remote is None else ObjectHome(cache.remote, cache.path)
    own = Hdf5Store(cache.path / "features", codec=cache.codec, home=home)
    return LeveledStore(own, [_opened(cache, place) for place in cache.readonly])


def check_places(cache: CacheSpec) -> None:
    """Check, before anything is loaded, what a run file says about where features are.

    Raises:
        StoreError: a folder that is only read is no store, or a URL no place in object storage.
    """
    for url in (cache.remote, *cache.readonly):
        if isinstance(url, str):
            Bucket(url)
    for place in cache.readonly:
        if isinstance(place, Path):
            store_folder(place).require()


def ledgers(cache: CacheSpec) -> list[Path]:
    """Return the files in which others keep digests of media."""
    return [place / "media.jsonl" for place in cache.readonly if isinstance(place, Path)]


def _opened(cache: CacheSpec, place: Path | str) -> Hdf5Store:
    if isinstance(place, Path):
        return Hdf5Store(store_folder(place).root, read_only=True)
    home = ObjectHome(place, cache.path, read_only=True)
    home.require()
    return Hdf5Store(home.folder.root, home=home)
