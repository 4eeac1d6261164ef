"""Chunk codecs by themselves."""

import random
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import zstandard

from encodeonce.cache_store.codec import DamagedChunk, chunk_codecs, find_chunk_codec

DTYPES = {"bfloat16": ml_dtypes.bfloat16, "float16": np.float16, "float32": np.float32}


def features_like(dtype: Any, num_tokens: int = 576) -> np.ndarray[Any, np.dtype[Any]]:
    """Return a unit with the statistics of a vision tower's output: channels of unequal scale."""
    rng = np.random.default_rng(0)
    scale_D = np.exp(rng.normal(0, 0.4, 1024)).astype(np.float32)
    return (rng.standard_normal((num_tokens, 1024), dtype=np.float32) * scale_D).astype(dtype)


@pytest.mark.parametrize("codec", sorted(chunk_codecs()))
@pytest.mark.parametrize("dtype", [*sorted(DTYPES), "int8"])
@pytest.mark.parametrize("num_tokens", [1, 3, 130])
def test_a_chunk_decodes_to_the_same_bits(codec: str, dtype: str, num_tokens: int) -> None:
    rng = np.random.default_rng(num_tokens)
    item = np.dtype(DTYPES.get(dtype, np.int8))
    unit = rng.integers(0, 256, num_tokens * 7 * item.itemsize, np.uint8).view(item)
    out = np.empty_like(unit)
    one = find_chunk_codec(codec)
    for is_verified in (False, True):
        out[:] = 0
        chunk = memoryview(bytearray(one.encode(unit)))
        one.decode_into(chunk, out, is_verified=is_verified)
        assert out.tobytes() == unit.tobytes()


@pytest.mark.parametrize(("dtype", "most"), [("bfloat16", 0.69), ("float16", 0.87)])
def test_zstd_stores_features_in_fewer_bytes(dtype: str, most: float) -> None:
    unit = features_like(DTYPES[dtype])
    assert len(find_chunk_codec("zstd").encode(unit)) / unit.nbytes <= most


def test_zstd_makes_one_ordinary_frame_with_size_and_checksum() -> None:
    unit = features_like(ml_dtypes.bfloat16, num_tokens=4)
    frame = find_chunk_codec("zstd").encode(unit)
    parameters = zstandard.get_frame_parameters(frame)
    assert parameters.content_size == unit.nbytes
    assert parameters.has_checksum
    planes = np.frombuffer(zstandard.ZstdDecompressor().decompress(frame), np.uint8)
    shuffled = unit.view(np.uint8).reshape(-1, 2).T.reshape(-1)
    assert np.array_equal(planes, shuffled)


def test_a_flipped_bit_of_a_zstd_chunk_is_found_by_its_own_checksum_or_changes_nothing() -> None:
    unit = features_like(ml_dtypes.bfloat16, num_tokens=2)
    codec, out, rng = find_chunk_codec("zstd"), np.empty_like(unit), random.Random(0)
    frame, num_found = codec.encode(unit), 0
    for _ in range(300):
        damaged = bytearray(frame)
        damaged[rng.randrange(len(frame))] ^= 1 << rng.randrange(8)
        out[:] = 0
        try:
            codec.decode_into(memoryview(damaged), out)
        except DamagedChunk:
            num_found += 1
        else:
            assert out.tobytes() == unit.tobytes()
    assert num_found > 290


def test_a_verified_chunk_is_not_checked_a_second_time() -> None:
    unit = features_like(ml_dtypes.bfloat16, num_tokens=2)
    codec, out = find_chunk_codec("zstd"), np.empty_like(unit)
    chunk = bytearray(codec.encode(unit))
    chunk[-1] ^= 1  # of zstd's checksum, which is not part of the features
    with pytest.raises(DamagedChunk):
        codec.decode_into(memoryview(chunk), out)
    codec.decode_into(memoryview(chunk), out, is_verified=True)
    assert out.tobytes() == unit.tobytes()


@pytest.mark.parametrize("codec", sorted(chunk_codecs()))
def test_a_chunk_of_another_size_is_refused(codec: str) -> None:
    one = find_chunk_codec(codec)
    chunk = memoryview(one.encode(np.zeros(10, np.float16)))
    for num_values in (9, 11):
        with pytest.raises(DamagedChunk):
            one.decode_into(chunk, np.empty(num_values, np.float16))
