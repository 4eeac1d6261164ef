"""Read stored bytes into arrays, past HDF5: pread, verify, decompress into place, in parallel."""

import errno
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from encodeonce.cache_store.codec import DamagedChunk, chunk_codecs, flat_bytes
from encodeonce.cache_store.durable import explain
from encodeonce.cache_store.features import DTYPES
from encodeonce.cache_store.lossy import LossyCodec
from encodeonce.cache_store.manifest import ArrayLayout, Part, Table

Array = np.ndarray[Any, np.dtype[Any]]

PART_DTYPES = {**DTYPES, "int8": np.dtype(np.int8)}
OPEN_PACKS = 64


class PackFile:
    """An open pack. It is closed once nobody holds it: no reader is cut off."""

    def __init__(self, path: Path) -> None:
        self.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def __del__(self) -> None:
        descriptor = getattr(self, "descriptor", None)
        if descriptor is not None:
            os.close(descriptor)

    @property
    def num_bytes(self) -> int:
        """Size of the file."""
        return os.fstat(self.descriptor).st_size

    def read_into(self, out: Array, offset: int) -> None:
        """Fill ``out`` with the bytes from ``offset`` on.

        Raises:
            DamagedChunk: the file is shorter than that, or the medium cannot read it.
            OSError: the system call failed otherwise.
        """
        target = out.data
        while target.nbytes:
            try:
                num_bytes = os.preadv(self.descriptor, [target], offset)
            except OSError as error:
                if error.errno != errno.EIO:
                    raise
                raise DamagedChunk(f"the medium cannot read it: {error}") from error
            if not num_bytes:
                raise DamagedChunk("the file is too short")
            offset += num_bytes
            target = target[num_bytes:]

    def ahead(self, ranges: Sequence[tuple[int, int]]) -> "PackFile":
        """Return what to read the bytes in ``ranges``, each (start, end), from: a disk, as it is.

        Raises:
            OSError: they cannot be read.
        """
        return self


class PackFiles:
    """The packs used most recently, kept open."""

    def __init__(self) -> None:
        self._open: OrderedDict[str, PackFile] = OrderedDict()
        self._lock = threading.Lock()

    def open(self, pack: str, open_pack: Callable[[str], PackFile]) -> PackFile:
        """Return an open pack.

        Raises:
            OSError, StoreError: it cannot be opened.
        """
        with self._lock:
            file = self._open.pop(pack, None) or open_pack(pack)
            self._open[pack] = file
            if len(self._open) > OPEN_PACKS:
                self._open.popitem(last=False)
            return file

    def open_all(
        self, packs: Mapping[int, str], open_pack: Callable[[str], PackFile]
    ) -> dict[int, PackFile]:
        """Open packs by their numbers; those whose files have vanished are left out.

        Raises:
            StoreError: a pack cannot be opened.
        """
        files = {}
        for number, pack in packs.items():
            try:
                files[number] = self.open(pack, open_pack)
            except FileNotFoundError:
                continue
            except OSError as error:
                raise explain(error, "opening", Path(pack)) from error
        return files

    def forget(self, pack: str) -> None:
        """Let go of a pack, so that it is opened again."""
        with self._lock:
            self._open.pop(pack, None)


@dataclass(frozen=True, slots=True)
class ArrayRead:
    """One unit's array to be read."""

    position: int
    """Which of the units asked for."""
    file: PackFile
    layout: ArrayLayout
    row: int
    """Row of the array's table."""
    out: Array
    """C-contiguous; the unit's shape and dtype."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A unit that could not be read."""

    position: int
    reason: str


class ChunkReader:
    """Reads and verifies chunks. Threads may share it."""

    def __init__(self) -> None:
        self._codecs = chunk_codecs()
        self._own = threading.local()

    def read(self, work: ArrayRead, lossy: LossyCodec | None) -> Failure | None:
        """Fill ``work.out``, or say why not.

        Raises:
            OSError: a system call failed.
        """
        try:
            if lossy is None:
                (part,) = work.layout.parts
                self.read_part(work.file, part, work.row, work.out)
                return None
            parts = {}
            for part in work.layout.parts:
                parts[part.name] = np.empty(part.shape, PART_DTYPES[part.dtype])
                self.read_part(work.file, part, work.row, parts[part.name])
            lossy.join(parts, work.out)
        except DamagedChunk as error:
            return Failure(work.position, f"{work.layout.name}: {error}")
        return None

    def read_part(self, file: PackFile, part: Part, row: int, out: Array) -> None:
        """Fill ``out`` with one chunk.

        Raises:
            DamagedChunk: its bytes are not what was written.
            OSError: a system call failed.
        """
        offset, size, xxh3 = part.chunks[row].item()
        if part.filter == "raw":
            # Straight to where the caller wants it: the only copy is the kernel's.
            target = flat_bytes(out)
            if target.nbytes != size:
                raise DamagedChunk(f"{size} bytes where {target.nbytes} belong")
            file.read_into(target, offset)
            _verify(target, xxh3)
            return
        chunk = self._stored(file, offset, size, xxh3)
        self._codecs[part.filter].decode_into(chunk.data, out, is_verified=True)

    def read_stored(self, file: PackFile, part: Part, row: int) -> bytes:
        """Return the stored bytes of one chunk, verified.

        Raises:
            DamagedChunk: they are not what was written.
            OSError: a system call failed.
        """
        return self._stored(file, *part.chunks[row].item()).tobytes()

    def _stored(self, file: PackFile, offset: int, size: int, xxh3: int) -> Array:
        chunk = self._scratch(size)
        file.read_into(chunk, offset)
        _verify(chunk, xxh3)
        return chunk

    def _scratch(self, num_bytes: int) -> Array:
        scratch: Array | None = getattr(self._own, "scratch", None)
        if scratch is None or scratch.nbytes < num_bytes:
            scratch = self._own.scratch = np.empty(num_bytes, np.uint8)
        return scratch[:num_bytes]


def _verify(chunk: Array, xxh3: int) -> None:
    if xxhash.xxh3_64_intdigest(chunk.data) != xxh3:
        raise DamagedChunk("its checksum is wrong")


def allocate(tables: Sequence[Table], out: Mapping[str, Array] | None) -> dict[str, Array]:
    """Return the arrays that units, each in a table, are read into: new ones, or the caller's.

    Raises:
        ValueError: the units have different shapes, or a buffer does not fit.
    """
    layouts = {
        tuple((array.name, array.dtype, array.shape) for array in table.arrays) for table in tables
    }
    if len(layouts) != 1:
        raise ValueError(f"units of different shapes cannot be stacked: {sorted(layouts)}")
    arrays, num_units = tables[0].arrays, len(tables)
    if out is None:
        return {a.name: np.empty((num_units, *a.shape), DTYPES[a.dtype]) for a in arrays}
    return {array.name: _fitting(out.get(array.name), array, num_units) for array in arrays}


def _fitting(buffer: Array | None, layout: ArrayLayout, num_units: int) -> Array:
    dtype = DTYPES[layout.dtype]
    if (
        buffer is not None
        and buffer.dtype == dtype
        and buffer.shape[1:] == layout.shape
        and len(buffer) >= num_units
        and buffer.flags.c_contiguous
    ):
        return buffer[:num_units]
    got = "none" if buffer is None else f"{buffer.dtype} {buffer.shape}"
    raise ValueError(
        f"buffer {layout.name!r}: got {got}, needs a C-contiguous {dtype} array of shape "
        f"({num_units} or more, {', '.join(map(str, layout.shape))})"
    )
