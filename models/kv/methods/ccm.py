"""CCM, FastCache's trained compressor: an MLP merges f neighbouring entries into one.

Zhu et al., FastCache, 2025 (arXiv:2503.08461), section 3; `models/kv/trained/compressor.py` has the
mathematics, and what ours does beyond it. Every layer and head keeps the same entries: one for each
group of f visual tokens, and the tokens that no group holds. ``keep`` is 1/f; what is measured is
more, as text and remainders stay whole.

With `scope: question` the first token of an answer is the full prefill's, as with all methods here;
FastCache itself feeds the prompt's last token over the compressed cache.
"""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import torch
from pydantic import Field

from encodeonce.models.kv.method import KVMethod
from encodeonce.models.kv.selection import Entries, Selection
from encodeonce.models.kv.spec import PositionPolicy
from encodeonce.models.kv.statistics import LayerStatistics, PromptStatistics
from encodeonce.models.kv.trained.compressor import stacked
from encodeonce.models.kv.trained.grouping import Grouping, group_tokens
from encodeonce.models.kv.trained.header import CompressorHeader, find_compressor
from encodeonce.models.kv.trained.source import Layout, Source

_MOST_ELEMENTS = 2**27
"""Keys that are stacked at a time: layers are taken in chunks of at most so many numbers."""


class CCM(KVMethod):
    """Merges entries by a trained compressor."""

    display_name: ClassVar[str] = "CCM"
    file_options: ClassVar[tuple[str, ...]] = ("path",)
    is_trained: ClassVar[bool] = True
    merges: ClassVar[bool] = True

    path: str = Field(
        description="Folder of `encodeonce train compressor`, or the name of one that ships with "
        "the demo model, 'demo-9'; with another layout, FastCache's file."
    )
    layout: Layout = Field(
        default="encodeonce",
        description="'encodeonce', or how FastCache's file is to be read: "
        "'fastcache-linear-decouple' (its LLaVA compressor), 'fastcache-hybrid' (MiniCPM-V's).",
    )
    sha256: str | None = Field(
        default=None,
        pattern="^[0-9a-f]{64}$",
        description="Digest that the file of the weights must have.",
    )

    @cached_property
    def _source(self) -> Source:
        return Source(self.path, self.layout, self.sha256)

    @property
    def header(self) -> CompressorHeader:
        """What the compressor is."""
        return self._source.header

    @property
    def positions(self) -> PositionPolicy:
        """As the compressor was trained."""
        return self.header.positions

    @classmethod
    def located(cls, option: str, value: str) -> Path:
        """Return the compressor's folder or file."""
        return find_compressor(value)

    @property
    def only_keep(self) -> float | None:
        """1/f, by which entries are merged; what is measured is more."""
        return 1.0 / self.header.factor

    def check_model(self, checkpoint_sha256: str) -> None:
        """Refuse a compressor of another model."""
        self.header.check_model(checkpoint_sha256, self._source.name)

    def check_shape(self, layers: Sequence[int], head_width: int) -> None:
        """Refuse a compressor for a model of another shape, or whose weights cannot be loaded."""
        self.header.check_shape(layers, head_width, self._source.name)
        self._source.check()

    def plan(self, prompt: PromptStatistics, keep: float) -> Sequence[Selection]:
        """Return each group's last token, and the tokens that stay as they are."""
        indices = group_tokens(prompt.is_visual, self.header).indices
        return [indices.expand(layer.num_kv_heads, -1) for layer in prompt.layers]

    def apply(
        self, layer: LayerStatistics, selection: Selection, is_visual: torch.Tensor
    ) -> Entries:
        """Merge the entries of one layer."""
        return self.apply_layers([layer], [selection], is_visual)[0]

    def apply_layers(
        self,
        layers: Sequence[LayerStatistics],
        plan: Sequence[Selection],
        is_visual: torch.Tensor,
    ) -> list[Entries]:
        """Merge the entries of several layers by one product for each matrix."""
        grouping = group_tokens(is_visual, self.header)
        first = layers[0].parts[0][0]
        size = max(1, _MOST_ELEMENTS // (first.shape[0] * len(is_visual) * first.shape[2]))
        found = []
        for start in range(0, len(layers), size):
            found += self._merged(
                layers[start : start + size], plan[start : start + size], grouping
            )
        return found

    def _merged(
        self, layers: Sequence[LayerStatistics], plan: Sequence[Selection], grouping: Grouping
    ) -> list[Entries]:
        keys, values = (
            stacked([one.keys for one in layers]),
            stacked([one.values for one in layers]),
        )
        numbers = [layer.layer for layer in layers]
        with torch.no_grad():
            compressor = self._source.load(keys.device, keys.dtype)
            merged: Any = compressor(keys, values, grouping, self._source.places(numbers))
        return [
            Entries(keys=some, values=others, indices=selection)
            for some, others, selection in zip(*merged, plan, strict=True)
        ]


METHOD = CCM
