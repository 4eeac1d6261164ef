"""Scoring presses of kvpress (github.com/NVIDIA/kvpress), where it is installed.

A press scores with its own code, from the attention module, its input, keys and values, as in a
forward hook; the selection, true positions and the cache itself are ours. kvpress pins an older
transformers, but presses that only score work with this one (tested: 0.5.5, ``--no-deps``).
"""

import importlib
from typing import Any, ClassVar

import torch
from pydantic import Field, model_validator

from encodeonce.models.kv.method import ScoringMethod
from encodeonce.models.kv.statistics import LayerStatistics, Needs


class KVPress(ScoringMethod):
    """``press`` is a class of kvpress, ``args`` its arguments."""

    display_name: ClassVar[str] = "kvpress"

    press: str = Field(description="Class of kvpress that scores, e.g. 'LagKVPress'.")
    args: dict[str, Any] = Field(
        default_factory=dict, description="Its arguments, without compression_ratio."
    )

    @model_validator(mode="after")
    def _can_score(self) -> "KVPress":
        self.make()
        return self

    @property
    def needs(self) -> Needs:
        """The inputs that a forward hook would get."""
        return Needs(inputs=True)

    def scores(self, layer: LayerStatistics, is_visual: torch.Tensor) -> torch.Tensor:
        """Return the press's scores (K, N)."""
        assert layer.inputs is not None
        inputs = layer.inputs()
        found: torch.Tensor = self.make().score(
            inputs.module,
            inputs.hidden,
            layer.keys[None],
            layer.values[None],
            None,
            {"position_embeddings": (inputs.cos, inputs.sin)},
        )
        return found[0].float()

    def make(self) -> Any:
        """Return the press.

        Raises:
            ValueError: kvpress is not installed, or has no such press, or it does not score.
        """
        try:
            kvpress = importlib.import_module("kvpress")
        except ImportError as error:
            raise ValueError(
                f"kvpress is not installed; type: pip install --no-deps kvpress==0.5.5 ({error})"
            ) from error
        kind = getattr(kvpress, self.press, None)
        if kind is None or not issubclass(kind, kvpress.ScorerPress):
            scoring = sorted(
                name
                for name in dir(kvpress)
                if isinstance(getattr(kvpress, name), type)
                and issubclass(getattr(kvpress, name), kvpress.ScorerPress)
            )
            raise ValueError(f"press must be one of {', '.join(scoring)}; got {self.press!r}")
        return kind(**self.args)


METHOD = KVPress
