"""Write and read pack files: HDF5, written once under a private name, never changed.

Chunks are written as they are stored (`write_direct_chunk`), declared as shuffle + Zstandard
(registered filter 32015), so that any HDF5 with that plugin reads them. Our own reader never
opens the file as HDF5: HDF5 holds one lock for everything, and looking a chunk up costs time
proportional to their number.
"""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xxhash

from encodeonce.cache_store.durable import explain, make_folder, sync_folder, write_all
from encodeonce.cache_store.layout import Namespace
from encodeonce.cache_store.log import PackRecord
from encodeonce.cache_store.manifest import CHUNK_DTYPE, Chunks, Manifest, Part, with_chunks
from encodeonce.cache_store.reading import PackFile
from encodeonce.cache_store.signature import canonical_json

ZSTD_FILTER = 32015
ON_DISK = {"bfloat16": "<u2", "float16": "<f2", "float32": "<f4", "int8": "i1"}
"""HDF5 types of the parts. Older HDF5 has no bfloat16; an attribute says what the bits mean."""


class _Sink:
    """File object that HDF5 writes through, so that a full disk is our error and not HDF5's.

    HDF5 cannot close a file whose writes fail; it leaks it and complains until the process ends.
    Here a failed write is remembered and later ones are ignored: the file is closed normally, and
    then thrown away.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._position = 0
        self.error: OSError | None = None

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        end = os.fstat(self._descriptor).st_size
        self._position = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._position}.get(whence, end)
        return self._position

    def tell(self) -> int:
        return self._position

    def read(self, num_bytes: int) -> bytes:
        """Exists because h5py takes an object without this method for a path."""
        raise NotImplementedError

    def readinto(self, buffer: memoryview) -> int:
        num_bytes = os.preadv(self._descriptor, [buffer], self._position)
        self._position += num_bytes
        return num_bytes

    def write(self, data: memoryview) -> int:
        num_bytes = memoryview(data).nbytes
        if self.error is None:
            try:
                write_all(self._descriptor, data, self._position)
            except OSError as error:
                self.error = error
        self._position += num_bytes
        return num_bytes

    def truncate(self, size: int) -> int:
        if self.error is None:
            try:
                os.ftruncate(self._descriptor, size)
            except OSError as error:
                self.error = error
        return size

    def flush(self) -> None:
        """Nothing is buffered here."""


def write_pack(
    namespace: Namespace, manifest: Manifest, frames: Mapping[str, Sequence[bytes]]
) -> PackRecord:
    """Write a pack durably and return the record that will commit it.

    Args:
        namespace: where; the pack is there under its name, but no part of the store until its
            record is in the log.
        manifest: contents; the chunk tables are filled in here.
        frames: stored bytes of every row, by dataset path.

    Raises:
        StoreError: it cannot be written; nothing is left of it.
    """
    private = namespace.tmp / f"{manifest.pack}.h5.tmp"
    path = namespace.pack(manifest.pack)
    try:
        record = write_pack_file(private, manifest, frames, _signature_text(namespace))
        make_folder(path.parent)
        private.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise explain(error, "writing", path) from error
    finally:
        private.unlink(missing_ok=True)
    return record


def write_pack_file(
    path: Path, manifest: Manifest, frames: Mapping[str, Sequence[bytes]], signature: str
) -> PackRecord:
    """Write and sync one pack file that does not exist yet.

    Raises:
        OSError: it cannot be written.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o444)
    try:
        sink = _Sink(descriptor)
        with h5py.File(sink, "w", libver=("v108", "v110")) as file:
            file.attrs["signature"] = signature
            chunks = {
                dataset: _write_dataset(file, dataset, part, frames[dataset])
                for dataset, part in manifest.parts()
            }
            manifest = with_chunks(manifest, chunks)
            text = canonical_json(manifest.to_dict()).encode("ascii")
            file["manifest"] = np.frombuffer(text, np.uint8)
            file["manifest"].attrs["xxh3_128"] = xxhash.xxh3_128_hexdigest(text)
        if sink.error is not None:
            raise sink.error
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return _record_of(PackFile(path), manifest)


def _write_dataset(file: h5py.File, path: str, part: Part, frames: Sequence[bytes]) -> Chunks:
    """Create a dataset of one chunk per row, write the chunks, and return where they are."""
    disk_dtype = np.dtype(ON_DISK[part.dtype])
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_chunk((1, *part.shape))
    if part.filter == "zstd":
        if disk_dtype.itemsize > 1:
            properties.set_shuffle()
        # Optional, because a mandatory filter must be loaded, and we need no plugin to write.
        properties.set_filter(ZSTD_FILTER, h5py.h5z.FLAG_OPTIONAL, (3,))
    file.require_group(path.rpartition("/")[0])
    dataset = h5py.h5d.create(
        file.id,
        path.encode("ascii"),
        h5py.h5t.py_create(disk_dtype),
        h5py.h5s.create_simple((len(frames), *part.shape)),
        properties,
    )
    chunks = np.empty(len(frames), CHUNK_DTYPE)
    for row, frame in enumerate(frames):
        dataset.write_direct_chunk((row, *(0 for _ in part.shape)), frame)
        chunks[row] = (0, len(frame), xxhash.xxh3_64_intdigest(frame))

    def take_offset(stored: Any) -> None:
        chunks["offset"][stored.chunk_offset[0]] = stored.byte_offset

    dataset.chunk_iter(take_offset)
    h5py.Dataset(dataset).attrs["dtype"] = part.dtype
    return chunks


def structure_digest(file: PackFile, manifest: Manifest) -> str:
    """Return the XXH3-128 of the bytes outside of chunks: HDF5's own structure.

    Raises:
        DamagedChunk: the file ends before its last chunk.
        OSError: it cannot be read.
    """
    tables = [part.chunks for _, part in manifest.parts()]
    first, last = np.zeros(1, np.uint64), np.full(1, file.num_bytes, np.uint64)
    starts = np.concatenate([first, *(chunks["offset"] + chunks["size"] for chunks in tables)])
    ends = np.concatenate([*(chunks["offset"] for chunks in tables), last])
    pairs = zip(np.sort(starts).tolist(), np.sort(ends).tolist(), strict=True)
    between = [(start, end) for start, end in pairs if end > start]
    fetched = file.ahead(between)
    digest = xxhash.xxh3_128()
    for start, end in between:
        piece = np.empty(end - start, np.uint8)
        fetched.read_into(piece, start)
        digest.update(piece.data)
    return digest.hexdigest()


def read_embedded_manifest(path: Path) -> Manifest:
    """Return the manifest inside a pack, to rebuild what was lost.

    Raises:
        OSError, KeyError, ValueError: the file is not a whole pack.
    """
    with h5py.File(path, "r", locking=False) as file:
        text = file["manifest"][()].tobytes()
        if xxhash.xxh3_128_hexdigest(text) != file["manifest"].attrs["xxh3_128"]:
            raise ValueError(f"the manifest inside {path} is damaged")
    return Manifest.from_dict(json.loads(text))


def record_of_file(path: Path) -> PackRecord:
    """Return the commit record that goes with a whole pack file.

    Raises:
        OSError, KeyError, ValueError: the file is not a whole pack.
    """
    return _record_of(PackFile(path), read_embedded_manifest(path))


def _record_of(file: PackFile, manifest: Manifest) -> PackRecord:
    return PackRecord(manifest, file.num_bytes, structure_digest(file, manifest))


def _signature_text(namespace: Namespace) -> str:
    return namespace.signature_file.read_text(encoding="ascii")
