"""The interface of KV-compression methods; `registry` finds a setting's method.

`tests/contracts/kv_method.py` is the suite that every method has to pass.
"""

from abc import ABC, abstractmethod
from collections.abc import Hashable, Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar

import torch
from pydantic import BaseModel, ConfigDict

from encodeonce.datasets.local_path import local_path
from encodeonce.models.kv.cache import Eviction
from encodeonce.models.kv.selection import Entries, Selection, gather, top, uniform_count
from encodeonce.models.kv.spec import PositionPolicy
from encodeonce.models.kv.statistics import LayerStatistics, Needs, PromptStatistics


class KVMethod(BaseModel, ABC):
    """A rule for which of a prompt's keys and values stay. Its fields are the user's options."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    display_name: ClassVar[str]
    """Its name in papers and reports: "SnapKV", where run files say ``snapkv``."""
    needs_question: ClassVar[bool] = False
    """Whether it cannot choose before a question is read."""
    merges: ClassVar[bool] = False
    """Whether its entries are no longer those of single tokens."""
    is_trained: ClassVar[bool] = False
    """Whether it has weights of its own, which fix its budget."""
    file_options: ClassVar[tuple[str, ...]] = ()
    """Options that name a file or folder. Workers get its absolute path (`located`); titles show
    its name."""

    @property
    def needs(self) -> Needs:
        """Statistics needed besides keys, values and the question's queries."""
        return Needs()

    @property
    def positions(self) -> PositionPolicy:
        """The next token's position."""
        return "original"

    @property
    def key(self) -> Hashable:
        """Method and options: equal for settings that differ only in their budgets."""
        return type(self), self.model_dump_json()

    @classmethod
    def located(cls, option: str, value: str) -> Path:
        """Return the file or folder that one of `file_options` means here.

        Raises:
            ValueError: it is no path.
        """
        return local_path(value)

    @property
    def only_keep(self) -> float | None:
        """The only budget that goes with the options; None if any does."""
        return None

    def check_model(self, checkpoint_sha256: str) -> None:
        """Refuse a model for which the options were not made.

        Raises:
            ValueError: an option belongs to another model.
        """
        return

    def check_shape(self, layers: Sequence[int], head_width: int) -> None:
        """Refuse a model that the options do not fit, and files that cannot be loaded.

        Args:
            layers: numbers of the language model's layers that have no sliding window.
            head_width: of its key heads.

        Raises:
            ValueError: an option was made for another shape, or names a damaged file.
        """
        return

    @abstractmethod
    def plan(self, prompt: PromptStatistics, keep: float) -> Sequence[Selection]:
        """Choose which entries stay in every layer of ``prompt.layers``; pure.

        Args:
            prompt: all layers' statistics.
            keep: fraction of the entries that may stay, over all layers and heads.

        Returns:
            For each layer the tokens that stay, ascending: (K, n), or K times (n,) with n > 0.
        """

    def apply(
        self, layer: LayerStatistics, selection: Selection, is_visual: torch.Tensor
    ) -> Entries:
        """Return what stays of a layer; methods that merge override this.

        Args:
            layer: its keys and values, and its number.
            selection: the choice of `plan` there.
            is_visual: (N,) bool.
        """
        return gather(layer.keys, layer.values, selection)

    def apply_layers(
        self,
        layers: Sequence[LayerStatistics],
        plan: Sequence[Selection],
        is_visual: torch.Tensor,
    ) -> list[Entries]:
        """Return what stays of several layers; methods that compute them at once override this.

        Args:
            layers: the prompt's.
            plan: the choice of `plan` in each.
            is_visual: (N,) bool.
        """
        return [
            self.apply(layer, selection, is_visual)
            for layer, selection in zip(layers, plan, strict=True)
        ]

    def eviction(self, num_tokens: int, kept: Sequence[int], keep: float) -> Eviction | None:
        """Return the rule by which the method removes entries while decoding, if it does.

        Args:
            num_tokens: N of the prompt.
            kept: entries per head, by layer.
            keep: the budget.
        """
        return None


class ScoringMethod(KVMethod):
    """A method that scores tokens in each layer and keeps the same number of the best in all."""

    @abstractmethod
    def scores(self, layer: LayerStatistics, is_visual: torch.Tensor) -> torch.Tensor:
        """Return (K, N) float32: the higher its score, the sooner a token stays."""

    def all_scores(self, prompt: PromptStatistics) -> list[torch.Tensor]:
        """Return the scores of every layer; do not write to them, as other budgets share them."""
        key = self.key
        return [
            layer.once(key, partial(self.scores, layer, prompt.is_visual))
            for layer in prompt.layers
        ]

    def plan(self, prompt: PromptStatistics, keep: float) -> Sequence[Selection]:
        """Keep the best of each head."""
        count = uniform_count(prompt.num_tokens, keep)
        return [top(scores, count) for scores in self.all_scores(prompt)]
