"""Watching and compressing do not raise the peak of memory, counted tensor by tensor."""

import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from encodeonce.models.kv.spec import FULL, KVSpec
from encodeonce.models.spec import GenerationSpec, VisionSpec
from encodeonce.models.synthetic.llava import LlavaShape, write_random_llava
from encodeonce.models.vision.visual import Visual
from tests.asking import swept
from tests.contracts.family import Model, Scene

SHAPE = LlavaShape(
    hidden_size=256,
    intermediate_size=512,
    num_layers=8,
    num_heads=4,
    num_key_value_heads=4,
    vocab_size=300,
    vision_hidden_size=32,
    vision_layers=2,
    vision_heads=2,
    image_size=256,
    patch_size=8,
)
"""1,024 visual tokens, 16 MiB of keys and values."""


class PeakBytes(TorchDispatchMode):
    """Counts the bytes of tensors made since it was entered that are alive at the same time."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._alive: dict[int, int] = {}

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor):
                self._count(tensor.untyped_storage())
        return result

    def _count(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key not in self._alive:
            self._alive[key] = storage.nbytes()
            self.now += storage.nbytes()
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._forget, key)

    def _forget(self, key: int) -> None:
        self.now -= self._alive.pop(key)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    folder: Path = tmp_path_factory.mktemp("llava")
    written = write_random_llava(SHAPE, folder, torch.float32, torch.device("cpu"))
    return Model(written, VisionSpec())


def peak_bytes(model: Model, visuals: list[Visual], settings: Sequence[KVSpec]) -> int:
    spec = GenerationSpec(max_new_tokens=1)
    with PeakBytes() as counted:
        swept(model.decoder, visuals, ["What is shown?"], spec, settings)
    return counted.peak


@pytest.mark.parametrize("method", ["snapkv", "h2o", "prefixkv", "vl_cache", "expected_attention"])
def test_prefill_and_compression_take_little_more_than_a_full_prefill(
    model: Model, method: str
) -> None:
    visuals = [model.visual(Scene("image", size=(256, 256)))]
    full = peak_bytes(model, visuals, [FULL])
    compressed = peak_bytes(model, visuals, [KVSpec(method=method, keep=0.05)])
    assert full > 16 * 2**20
    assert compressed <= 1.05 * full
