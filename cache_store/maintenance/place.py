"""Open a store by its address: a folder, or a URL in object storage."""

import os
from pathlib import Path

from encodeonce.cache_store.home import Home
from encodeonce.cache_store.layout import store_folder
from encodeonce.cache_store.objects.home import ObjectHome


def open_home(place: Path | str, copies: Path | None = None) -> Home:
    """Return the home of a store, which need not exist.

    Args:
        place: a run file's ``cache.path``, the folder ``features`` in it, or a URL like its
            ``cache.remote``.
        copies: for a URL, folder of the log's copy: the ``cache.path`` of a run there, so that it
            need not be fetched anew. ``~/.cache/encodeonce`` unless it is given.

    Raises:
        StoreError: the store is in an unknown format, or the URL cannot be used.
    """
    if "://" in str(place):
        return ObjectHome(str(place), copies or default_copies())
    return Home(store_folder(Path(place)).root)


def default_copies() -> Path:
    """Return the folder for the copies of logs: in the user's cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "encodeonce"
