"""Finds the compressor that a run's option names, and keeps its nets once they are loaded."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Literal

import torch

from encodeonce.models.checkpoint.files import file_digest
from encodeonce.models.kv.trained.compressor import Compressor
from encodeonce.models.kv.trained.fastcache import (
    FastCacheLayout,
    fastcache_header,
    load_fastcache,
)
from encodeonce.models.kv.trained.files import WEIGHTS, check_weights, load_weights
from encodeonce.models.kv.trained.header import (
    CompressorError,
    CompressorHeader,
    find_compressor,
    read_header,
)

Layout = Literal["encodeonce"] | FastCacheLayout


class Source:
    """A compressor on disk. Making one reads nothing."""

    def __init__(self, path: str, layout: Layout = "encodeonce", sha256: str | None = None) -> None:
        """Take the options of a run file.

        Args:
            path: as the user wrote it.
            layout: of the files.
            sha256: digest that the file of the weights must have.
        """
        self.name = f"the compressor in {path}"
        self._path, self._layout, self._sha256 = path, layout, sha256

    @property
    def header(self) -> CompressorHeader:
        """What the compressor is.

        Raises:
            CompressorError: there is none at the path.
        """
        if self._layout == "encodeonce":
            return read_header(self._found)
        return fastcache_header(self._found, self._layout)

    def check(self) -> None:
        """Refuse weights that cannot be loaded, or are not those that are asked for; load nothing.

        Raises:
            CompressorError: they are missing, damaged, of another form or of another digest.
        """
        if self._layout == "encodeonce":
            check_weights(self._found, self.header)
        self._weights()

    def load(self, device: torch.device, dtype: torch.dtype) -> Compressor:
        """Return its nets, frozen, in a model's precision; loaded once for all settings."""
        changed = self._weights()
        return _loaded(self._found, self._layout, changed, device, dtype)

    def _weights(self) -> tuple[int, int]:
        """Return what differs where the file of the weights has changed: its time and size."""
        weights = self._found / WEIGHTS if self._layout == "encodeonce" else self._found
        try:
            stat = weights.stat()
        except OSError as error:
            raise CompressorError(f"{weights} cannot be read: {error.strerror}") from error
        _check_digest(weights, self._sha256, stat.st_mtime_ns, stat.st_size)
        return stat.st_mtime_ns, stat.st_size

    def places(self, numbers: Sequence[int]) -> slice:
        """Return where some layers of the model, ascending, stand among the compressed ones.

        Raises:
            CompressorError: one of them is not, or one between them is left out.
        """
        layers = self.header.layers
        first = layers.index(numbers[0]) if numbers[0] in layers else 0
        if tuple(numbers) != layers[first : first + len(numbers)]:
            raise CompressorError(
                f"{self.name} was trained for the layers {list(layers)}, and this model compresses "
                f"{list(numbers)}"
            )
        return slice(first, first + len(numbers))

    @property
    def _found(self) -> Path:
        return find_compressor(self._path)


@lru_cache(maxsize=8)
def _loaded(
    path: Path, layout: Layout, changed: object, device: torch.device, dtype: torch.dtype
) -> Compressor:
    """Load nets; ``changed`` differs where the file does."""
    if layout == "encodeonce":
        compressor = load_weights(path, read_header(path))
    else:
        compressor = load_fastcache(path, layout)
    return compressor.to(device=device, dtype=dtype)


@lru_cache(maxsize=64)
def _check_digest(path: Path, sha256: str | None, mtime_ns: int, size: int) -> None:
    """Compare a file with the digest that a run asks for; one that has not changed, once."""
    if sha256 is None:
        return
    if (got := file_digest(path)) != sha256:
        raise CompressorError(f"{path} has the digest {got}; options.sha256 asks for {sha256}")
