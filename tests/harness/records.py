"""Hand-made records to add up, without a model."""

from dataclasses import replace
from typing import Any

from encodeonce.harness.run.record import Record
from encodeonce.models.answer import KVUse


def record(sample: str, variant: str = "none/full", **changes: Any) -> Record:
    """Return a record of benchmark ``b``; the sample's first letter names its video."""
    base = Record(
        run="r",
        benchmark="b",
        sample=sample,
        group=f"video-{sample[0]}",
        variant=variant,
        question="?",
        target="A",
    )
    return replace(base, **changes)


def use(kept: int, *, visual: int = 0, layers: tuple[float, ...] = (1.0,)) -> KVUse:
    """Return a `KVUse` of 100 bytes, 60 of them visual, and 20 more of the answer."""
    return KVUse(
        full_bytes=100,
        kept_bytes=kept,
        kept_visual_bytes=visual,
        full_visual_bytes=60,
        full_end_bytes=120,
        end_bytes=kept + 20,
        keep_by_layer=layers,
    )
