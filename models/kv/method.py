"""The interface of KV-compression methods, and the look-up of a setting's method.

The folder `methods/` is the registry: each file there defines one ``METHOD``.
`tests/contracts/kv_method.py` is the suite that every method has to pass.
"""

import importlib
from abc import ABC, abstractmethod
from collections.abc import Hashable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import ClassVar, Literal

import torch
from pydantic import BaseModel, ConfigDict

from encodeonce.datasets.local_path import local_path
from encodeonce.datasets.refusal_words import suggestion
from encodeonce.datasets.refusals import Refused, checked
from encodeonce.models.kv.cache import Eviction
from encodeonce.models.kv.selection import Entries, Selection, gather, top, uniform_count
from encodeonce.models.kv.spec import FULL_METHOD, KVSpec
from encodeonce.models.kv.statistics import LayerStatistics, Needs, PromptStatistics

PositionPolicy = Literal["original", "compressed"]
"""The next token's position: behind all tokens seen, or behind the entries left in the first
layer."""


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


def method_names() -> list[str]:
    """Return the methods by file name, from the folder's listing, and 'full'."""
    folder = Path(__file__).parent / "methods"
    return [FULL_METHOD, *sorted(path.stem for path in folder.glob("*.py"))]


@cache
def method_class(name: str) -> type[KVMethod]:
    """Return a method's class.

    Raises:
        ValueError: there is none of this name.
    """
    if name == FULL_METHOD or name not in method_names():
        raise ValueError(
            f"kv: there is no method {name!r}. Allowed: {', '.join(method_names())}."
            f"{suggestion(name, method_names())} A new method is one file in models/kv/methods/."
        )
    module = importlib.import_module(f"encodeonce.models.kv.methods.{name}")
    found: type[KVMethod] = module.METHOD
    return found


def find_method(spec: KVSpec) -> KVMethod | None:
    """Return the method of a setting with its options; None where nothing is removed.

    Raises:
        ValueError: the method is unknown, or an option is wrong.
    """
    if spec.method == FULL_METHOD:
        if spec.options:
            raise ValueError(f"kv: method 'full' has no options; got {sorted(spec.options)}")
        return None
    kind = method_class(spec.method)
    try:
        return checked(kind, spec.options)
    except Refused as error:
        raise ValueError(f"kv: options of method {spec.method!r}: {error}") from error


def file_options(spec: KVSpec) -> tuple[str, ...]:
    """Return a setting's options that name a file or folder; none where there is no such method."""
    if spec.method == FULL_METHOD or spec.method not in method_names():
        return ()
    return method_class(spec.method).file_options


def for_workers(spec: KVSpec) -> KVSpec:
    """Return a setting that means the same in any working folder, under the same title.

    Raises:
        ValueError: an option that should name a file is no path.
    """
    given = {name: spec.options[name] for name in file_options(spec) if spec.options.get(name)}
    if not given:
        return spec
    kind = method_class(spec.method)
    shown = {**spec.options, **{name: Path(value).name for name, value in given.items()}}
    places = {name: str(kind.located(name, value)) for name, value in given.items()}
    found = {**spec.options, **places}
    title = spec.model_copy(update={"options": shown}).title
    return spec.model_copy(update={"options": found, "label": title})


def check_kv(spec: KVSpec) -> None:
    """Refuse a setting that cannot be used.

    Raises:
        ValueError: the method is unknown, or an option is wrong, or precision and method do not go
            together.
    """
    method = find_method(spec)
    if method is None:
        return
    try:
        only = method.only_keep
    except ValueError as error:
        raise ValueError(f"kv: method {spec.method!r}: {error}") from error
    if only is not None and abs(spec.keep - only) > 1e-9:
        raise ValueError(
            f"kv: method {spec.method!r} with these options keeps {only:g}, whatever is asked for; "
            f"got keep {spec.keep:g}. Write compression_factor: {1 / only:g}"
        )
    if method.needs_question and spec.scope == "media":
        raise ValueError(
            f"kv: method {spec.method!r} reads the question, so it cannot compress what all "
            "questions share; use scope: question"
        )
    if spec.precision == "model":
        return
    if method.eviction(64, [32], 0.5) is not None:
        raise ValueError(
            f"kv: method {spec.method!r} with these options removes entries while decoding, and "
            f"entries stored as {spec.precision} share scales; use precision: model"
        )
