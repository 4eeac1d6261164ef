"""Chunk codecs: one unit's array to the bytes of one HDF5 chunk and back, bit for bit.

An array of itemsize n is n *planes*: all lowest bytes, then all next ones (HDF5's shuffle). In
16-bit features only the plane with the exponents compresses. Whatever LZ77 finds in it costs
more than it saves, so the parameters below leave zstd's literal coder (Huffman) to work alone:
1.47 to 1.55 times smaller in bfloat16, faster both ways than any level. The block is flushed
between planes: bytes of two planes in one zstd block would share a Huffman table.
"""

import sys
import threading
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import zstandard

Array = np.ndarray[Any, np.dtype[Any]]

_DESCRIPTOR, _HAS_CHECKSUM, _CHECKSUM_BYTES = 4, 0b100, 4
"""Of a zstd frame (RFC 8878): the byte that describes its header, a bit in it, and the end."""

WIDE = {2: np.uint16, 4: np.uint32}


class ChunkCodec(Protocol):
    """A lossless codec of chunks. Its name is written into every pack."""

    name: str

    def encode(self, unit: Array) -> bytes:
        """Return the chunk of one unit's C-contiguous array."""
        ...

    def decode_into(self, chunk: memoryview, out: Array, *, is_verified: bool = False) -> None:
        """Fill the C-contiguous ``out``.

        Args:
            chunk: what `encode` made.
            out: an array like the one that was encoded.
            is_verified: the chunk's checksum has been compared: a codec's own need not be. The
                chunk must be writable, and is changed.

        Raises:
            DamagedChunk: the chunk is not one that `encode` made of an array like ``out``.
        """
        ...


class DamagedChunk(ValueError):
    """A chunk's bytes are not what was written."""


class Raw:
    """The bytes as they are: for fast local disks, where decompression is the bottleneck."""

    name = "raw"

    def encode(self, unit: Array) -> bytes:
        """Return the array's bytes."""
        return unit.tobytes()

    def decode_into(self, chunk: memoryview, out: Array, *, is_verified: bool = False) -> None:
        """Copy the chunk."""
        if chunk.nbytes != out.nbytes:
            raise DamagedChunk(f"{chunk.nbytes} bytes where {out.nbytes} belong")
        flat_bytes(out)[:] = np.frombuffer(chunk, np.uint8)


class Zstd:
    """Byte-shuffled zstd, one frame per chunk, with content size and checksum. The default.

    Safe to share between threads: each has its own compressor and scratch memory.
    """

    name = "zstd"

    def __init__(self) -> None:
        self._own = threading.local()

    def encode(self, unit: Array) -> bytes:
        """Return the planes of the array in one zstd frame."""
        compressor = self._own_object("compressor", _new_compressor)
        stream = compressor.compressobj(size=unit.nbytes)
        frame = []
        for plane in _planes(unit):
            frame.append(stream.compress(plane))
            frame.append(stream.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK))
        frame.append(stream.flush(zstandard.COMPRESSOBJ_FLUSH_FINISH))
        return b"".join(frame)

    def decode_into(self, chunk: memoryview, out: Array, *, is_verified: bool = False) -> None:
        """Decompress and put the planes together."""
        if is_verified:
            chunk = _without_checksum(chunk)
        if out.itemsize == 1:
            self._decompress(chunk, flat_bytes(out))
            return
        planes = self._scratch(out.nbytes)
        self._decompress(chunk, planes)
        _merge(planes.reshape(out.itemsize, -1), out)

    def _decompress(self, chunk: memoryview, out: Array) -> None:
        # `readinto` lets zstd write the whole frame straight into our memory, with the checksum
        # verified; `decompress` would fault in a fresh megabyte for every chunk.
        decompressor = self._own_object("decompressor", zstandard.ZstdDecompressor)
        try:
            num_bytes = zstandard.frame_content_size(chunk)
            if num_bytes == out.nbytes:
                num_bytes = decompressor.stream_reader(chunk).readinto(out)
        except zstandard.ZstdError as error:
            raise DamagedChunk(str(error)) from error
        if num_bytes != out.nbytes:
            raise DamagedChunk(f"{num_bytes} bytes where {out.nbytes} belong")

    def _scratch(self, num_bytes: int) -> Array:
        scratch: Array | None = getattr(self._own, "scratch", None)
        if scratch is None or scratch.nbytes < num_bytes:
            scratch = self._own.scratch = np.empty(num_bytes, np.uint8)
        return scratch[:num_bytes]

    def _own_object(self, name: str, make: Callable[[], Any]) -> Any:
        found = getattr(self._own, name, None)
        if found is None:
            found = make()
            setattr(self._own, name, found)
        return found


def chunk_codecs() -> dict[str, ChunkCodec]:
    """Return a new codec of each kind, by the name that users type."""
    return {codec.name: codec for codec in (Raw(), Zstd())}


def find_chunk_codec(name: str) -> ChunkCodec:
    """Return a new codec.

    Raises:
        ValueError: no lossless codec has this name.
    """
    codecs = chunk_codecs()
    if name not in codecs:
        raise ValueError(
            f"store codec {name!r} is unknown; allowed: {', '.join(codecs)}. Lossy codecs belong "
            "to the signature of the features (`Signature.codec`), not to the store"
        )
    return codecs[name]


def flat_bytes(array: Array) -> Array:
    """View a C-contiguous array as its bytes."""
    return array.reshape(-1).view(np.uint8)


def _new_compressor() -> zstandard.ZstdCompressor:
    return zstandard.ZstdCompressor(
        compression_params=zstandard.ZstdCompressionParameters(
            strategy=zstandard.STRATEGY_FAST,
            min_match=7,
            hash_log=6,
            chain_log=6,
            search_log=1,
            window_log=17,
            target_length=0,
            write_content_size=1,
            write_checksum=1,
        )
    )


def _without_checksum(frame: memoryview) -> memoryview:
    """Return a zstd frame that says it has no checksum, in the same memory.

    Comparing it takes a fifth of the time of reading: XXH64 over what has been decompressed.
    """
    if len(frame) > _DESCRIPTOR and frame[_DESCRIPTOR] & _HAS_CHECKSUM:
        frame[_DESCRIPTOR] &= ~_HAS_CHECKSUM
        return frame[:-_CHECKSUM_BYTES]
    return frame


def _planes(unit: Array) -> list[Array]:
    """Split into byte planes, lowest first. Shifts run at 3 times the speed of strided copies."""
    if unit.itemsize == 1:
        return [flat_bytes(unit)]
    if sys.byteorder != "little":  # pragma: no cover
        raise NotImplementedError("packs are little-endian; this machine is not")
    wide = unit.reshape(-1).view(WIDE[unit.itemsize])
    return [(wide >> (8 * plane)).astype(np.uint8) for plane in range(unit.itemsize)]


def _merge(planes: Array, out: Array) -> None:
    """Put byte planes (itemsize, N) together, highest first so that each step shifts once."""
    wide_dtype = WIDE[out.itemsize]
    wide = out.reshape(-1).view(wide_dtype)
    highest = len(planes) - 1
    # A product, as numpy takes longer over the same shift.
    np.multiply(planes[highest], 256, out=wide, dtype=wide_dtype, casting="unsafe")
    for plane in range(highest - 1, 0, -1):
        np.bitwise_or(wide, planes[plane], out=wide)
        np.left_shift(wide, 8, out=wide)
    np.bitwise_or(wide, planes[0], out=wide)
