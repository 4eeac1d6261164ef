"""Tests of the connector's store, without vLLM."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from encodeonce.cache_store.home import Home
from encodeonce.cache_store.layout import StoreFolder
from encodeonce.cache_store.maintenance.verify import verify
from encodeonce.cache_store.signature import Signature
from encodeonce.harness.bridges.vllm.encoder_store import Array, EncoderStore

SIGNATURE = Signature(
    tower="llava",
    weights_sha256="0" * 64,
    tap={"at": "vLLM's encoder output"},
    preprocess={},
    decoder="vLLM's media loaders",
    dtype="float32",
)
PICTURE, OTHER = "ab" * 32, "cd" * 64


def output(seed: int = 0, dtype: object = np.float32) -> Array:
    return np.random.default_rng(seed).normal(size=(36, 64)).astype(dtype)  # type: ignore[call-overload,no-any-return]


def opened(
    path: Path, signature: Signature = SIGNATURE, *, read_only: bool = False
) -> EncoderStore:
    return EncoderStore(path, signature, {"host": "here"}, read_only=read_only)


@pytest.fixture
def filled(tmp_path: Path) -> Iterator[Path]:
    store = opened(tmp_path / "store")
    store.keep(PICTURE, output())
    store.close()
    yield tmp_path / "store"


def packs(path: Path) -> list[Path]:
    return [pack for one in StoreFolder(path).namespaces() for pack in one.packs.glob("??/*.h5")]


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
def test_another_process_finds_the_same_bits(tmp_path: Path, dtype: object) -> None:
    first = opened(tmp_path)
    assert first.find(PICTURE) is None
    first.keep(PICTURE, output(dtype=dtype))
    first.keep(OTHER, output(1, dtype))
    first.close()
    second = opened(tmp_path)
    for identifier, seed in ((PICTURE, 0), (OTHER, 1)):
        found = second.find(identifier)
        assert found is not None
        assert found.dtype == dtype
        assert found.tobytes() == output(seed, dtype).tobytes()
    assert first.take_counts()["stored"] == 2
    assert second.take_counts()["loaded"] == 2
    assert not second.take_counts()


def test_other_weights_find_nothing(filled: Path) -> None:
    assert opened(filled).find(PICTURE) is not None
    assert opened(filled, replace(SIGNATURE, weights_sha256="1" * 64)).find(PICTURE) is None
    assert opened(filled, replace(SIGNATURE, dtype="bfloat16")).find(PICTURE) is None


def test_a_flipped_byte_is_a_miss_with_a_warning(
    filled: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (pack,) = packs(filled)
    content = bytearray(pack.read_bytes())
    middle = len(content) // 2
    content[middle] ^= 1
    pack.chmod(0o644)
    pack.write_bytes(content)
    store = opened(filled)
    assert store.find(PICTURE) is None
    assert store.take_counts() == {"damaged": 1}
    assert "damaged" in caplog.text
    store.keep(PICTURE, output())
    store.close()
    assert opened(filled).find(PICTURE) is not None
    assert verify(Home(filled)).clean


def test_read_only_keeps_nothing(tmp_path: Path) -> None:
    store = opened(tmp_path / "store", read_only=True)
    store.keep(PICTURE, output())
    store.close()
    assert not (tmp_path / "store").exists()


def test_names_given_by_clients_are_not_trusted(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.keep("cat.png", output())
    store.close()
    assert store.find("cat.png") is None
    assert store.take_counts() == {"named by clients": 1}


def test_a_store_that_cannot_be_written_costs_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = opened(tmp_path / "store")
    (tmp_path / "store").write_text("in the way")
    store.keep(PICTURE, output())
    store.close()
    assert store.take_counts() == {"failed": 1}
    assert "not stored" in caplog.text
