"""Videos shared by the tests of this folder, each written once."""

from collections.abc import Callable
from pathlib import Path

import pytest

from encodeonce.datasets.media.ledger import Ledger
from encodeonce.datasets.media.media import Media
from tests.fixtures.media_files import VIDEOS, as_media


@pytest.fixture(scope="session")
def video(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Media]:
    """Return a function from a name in `VIDEOS` to the file."""
    folder = tmp_path_factory.mktemp("videos")

    def get(name: str) -> Media:
        path: Path = folder / name
        if not path.exists():
            VIDEOS[name][2](path)
        return as_media(path)

    return get


@pytest.fixture
def ledger() -> Ledger:
    """A ledger that remembers nothing beyond the test."""
    return Ledger(None)
