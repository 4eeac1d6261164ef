"""One decoder at a time, and weights that cannot be loaded."""

import gc
import weakref
from typing import Any

import pytest

from encodeonce.harness.workers.decoder_slot import DecoderSlot, WeightsNotLoaded
from encodeonce.models.answer import LoadedWeights
from encodeonce.models.spec import WeightsSpec

NONE, NF4, BROKEN = (WeightsSpec(method=name) for name in ("none", "nf4", "broken"))

LOADED = LoadedWeights(bytes_by_part={"layers": 7}, load_s=1.5, peak_bytes=9)


class Loader:
    """Makes objects in place of decoders; counts those alive whenever it makes one."""

    def __init__(self) -> None:
        self.loaded: list[str] = []
        self.num_alive: list[int] = []
        self._made: list[weakref.ref[Any]] = []

    def __call__(self, weights: WeightsSpec) -> Any:
        self.loaded.append(weights.title)
        self.num_alive.append(sum(made() is not None for made in self._made))
        if weights == BROKEN:
            raise ValueError("no kernel")
        decoder = Decoder()
        self._made.append(weakref.ref(decoder))
        return decoder


class Decoder:
    """Refers to itself, like a model to its modules: only the garbage collector frees it."""

    def __init__(self) -> None:
        self.me = self
        self.loaded = LOADED

    def close(self) -> None:
        """Free nothing that dropping it would not."""


def test_the_former_decoder_is_gone_before_the_next_is_loaded() -> None:
    gc.disable()
    try:
        loader = Loader()
        slot = DecoderSlot(loader)
        first = weakref.ref(slot.get(NONE))
        assert slot.get(NONE) is first()
        slot.get(NF4)
        slot.get(NONE)
    finally:
        gc.enable()
    assert loader.loaded == ["none", "nf4", "none"]
    assert loader.num_alive == [0, 0, 0]


def test_weights_that_do_not_load_are_tried_once_and_named_every_time() -> None:
    loader = Loader()
    slot = DecoderSlot(loader)
    for _ in range(2):
        with pytest.raises(WeightsNotLoaded, match="'broken' did not load: ValueError: no kernel"):
            slot.get(BROKEN)
    slot.get(NONE)
    assert loader.loaded == ["broken", "none"]


def test_what_was_loaded_is_said_once() -> None:
    slot = DecoderSlot(Loader())
    assert slot.take_loaded() is None
    slot.get(NONE)
    assert slot.take_loaded() == LOADED
    slot.get(NONE)
    assert slot.take_loaded() is None


def test_what_is_put_beforehand_raises_what_loading_raises() -> None:
    with pytest.raises(ValueError, match="no kernel"):
        DecoderSlot(Loader()).put(BROKEN)
