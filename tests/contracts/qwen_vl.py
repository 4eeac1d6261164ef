"""The contract of the Qwen-VL line, in addition to that of every family."""

from typing import ClassVar

from encodeonce.models.spec import Tap
from tests.contracts.family import FamilyContract
from tests.fixtures.tiny.qwen_vl import IMAGE


class QwenVLContract(FamilyContract):
    """The merger is inside the tower, and positions are kept in the model."""

    taps: ClassVar[tuple[Tap, ...]] = ("projected",)
    placeholder = IMAGE
    state = ("model.rope_deltas",)
    matters: ClassVar[dict[str, dict[Tap, bool]]] = {
        "visual": {"projected": True},
        "embed_tokens": {"projected": False},
    }
