"""Prefills what all prompts about some media begin with, up to the last visual token.

The boundary is a token's position and does not depend on which questions are asked. Every answer
from stored features continues such a prefix, even that of a single question, so that the prefix has
the same bits whatever else is asked.

Shapes: P prefix tokens, B questions.
"""

import copy
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, Protocol

import torch
from torch import nn
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from encodeonce.models.language.activation import Activation
from encodeonce.models.language.adapting import BASE, Index, using
from encodeonce.models.timing import synchronize


class PrefixError(ValueError):
    """A prompt does not begin like the other prompts about its media."""


class Observation(Protocol):
    """Watches the prefill of a prefix and keeps what its maker asked for.

    It raises `AllLayersFilled` when it has seen the last layer.
    """

    def watching(self, model: nn.Module) -> AbstractContextManager[None]:
        """Watch a model inside the block. What it computes does not change by a bit."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """The common beginning of all prompts about some media, and how one continues."""

    token_ids: tuple[int, ...]
    """Ids up to the last visual token."""
    inputs: Mapping[str, Any]
    """The arguments of the model's forward for these tokens."""
    prompt: Callable[[str], Sequence[int]]
    """Returns the token ids of the whole prompt with a question."""
    num_visual_units: int
    state: Mapping[str, Any]
    """State that the model needs to continue from the opening: attributes by dotted name."""
    is_visual: Sequence[bool]
    """Which of ``token_ids`` stand for features."""
    position_offset: int = 0
    """Difference between the position and the index of a token after the opening."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prefix:
    """A prefilled opening: its keys and values."""

    opening: Opening
    cache: DynamicCache
    seconds: Mapping[str, float]
    """By stage: ``prepare``, ``prefill``."""
    observation: Observation | None = None
    """The observation of the prefill, where caches made from it are to be compressed."""
    adapter: int = BASE
    """Under which it was computed, and whatever continues it: keys and values depend on it."""
    activation: Activation | None = None
    """Where the adapter begins instead, behind the prefix, which then is the base's."""
    _suffixes: dict[str, list[int]] = field(default_factory=dict)

    @property
    def num_tokens(self) -> int:
        """Number of prefilled tokens; the cache may hold fewer entries."""
        return len(self.opening.token_ids)

    @property
    def layers(self) -> list[Any]:
        """Each layer's part of the cache, of transformers: ``keys`` and ``values`` (1, K, P, D)."""
        return _layers(self.cache)

    @property
    def is_sliding(self) -> bool:
        """Whether a layer has a sliding window, in which padding would take up room."""
        return any(layer.is_sliding for layer in self.layers)

    @property
    def nbytes(self) -> int:
        """Size of keys and values, bytes."""
        return sum(layer.keys.nbytes + layer.values.nbytes for layer in self.layers)

    def suffix(self, question: str) -> list[int]:
        """Return the tokens that a question adds; tokenized once, however often it is asked for.

        Raises:
            PrefixError: the prompt begins differently, or ends where the prefix does.
            ValueError: the question contains a placeholder.
        """
        if question not in self._suffixes:
            self._suffixes[question] = self._tokenized(question)
        return list(self._suffixes[question])

    def _tokenized(self, question: str) -> list[int]:
        token_ids = tuple(self.opening.prompt(question))
        if token_ids[: self.num_tokens] != self.opening.token_ids:
            raise PrefixError(
                "the chat template puts the question before the media, or lets it change what "
                "stands before them: prompts on one video do not begin alike, so their prefix "
                f"cannot be shared. Use a template with the media first. Question: {question!r}"
            )
        if len(token_ids) == self.num_tokens:
            raise PrefixError(f"the prompt ends with the last visual token: {question!r}")
        suffix = list(token_ids[self.num_tokens :])
        self.index([suffix])
        return suffix

    def index(self, rows: Sequence[Sequence[int]]) -> Index:
        """Return the adapters of the tokens of questions behind it: see `adapting.AdaptedRows`.

        Raises:
            NotInvoked: a prompt lacks the invocation of its adapter.
        """
        if self.activation is None:
            return self.adapter
        return self.activation.numbers(self.adapter, rows)

    @property
    def is_of_base(self) -> bool:
        """Whether its keys and values are those under no adapter."""
        return self.adapter == BASE or self.activation is not None

    def fork(self, num_questions: int = 1) -> DynamicCache:
        """Return a cache of B rows to continue from; this one stays unchanged."""
        return fork(self.cache, num_questions)


def fork(cache: DynamicCache, num_rows: int) -> DynamicCache:
    """Return a cache that can grow on its own. Nothing is copied until it does.

    transformers' layers grow by reassigning their tensors, so these can be shared, even by rows.
    """
    forked = copy.copy(cache)
    layers = [copy.copy(layer) for layer in _layers(cache)]
    if num_rows > 1:
        for layer in layers:
            layer.keys = layer.keys.expand(num_rows, -1, -1, -1)
            layer.values = layer.values.expand(num_rows, -1, -1, -1)
    forked.layers = layers
    return forked


def _layers(cache: DynamicCache) -> list[Any]:
    """Return a cache's layers.

    Raises:
        PrefixError: a layer does not hold keys and values, and so may be written to in place.
    """
    for layer in cache.layers:
        if not isinstance(layer, DynamicLayer):
            raise PrefixError(
                f"the language model keeps a {type(layer).__name__}, not keys and values alone: "
                "its state after the media cannot be shared between questions"
            )
    return list(cache.layers)


def prefill(
    model: Any,
    opening: Opening,
    prepare_s: float,
    observation: Observation | None = None,
    adapter: int = BASE,
    activation: Activation | None = None,
    *,
    with_gradients: bool = False,
) -> Prefix:
    """Run the model over an opening.

    Args:
        model: a transformers model.
        opening: the opening.
        prepare_s: seconds already spent on making ``opening``.
        observation: watches, without changing what is computed.
        adapter: under which the opening is read, unless it begins behind it.
        activation: where it begins then.
        with_gradients: whether gradients are to reach what is trained beside the model, through
            keys and values.
    """
    config = model.config.get_text_config()
    cache = DynamicCache(config=config)
    filling: DynamicCache = cache
    watching: AbstractContextManager[None] = nullcontext()
    if observation is None:
        filling = _FillingCache(config=config)
        filling.layers = cache.layers
    else:
        watching = observation.watching(model)
    synchronize()
    start = time.perf_counter()
    ending = suppress(AllLayersFilled)
    grad = torch.enable_grad() if with_gradients else torch.inference_mode()
    reading = using(adapter if activation is None else BASE)
    with grad, _restored(model, opening.state), reading, watching, ending:
        model(**opening.inputs, past_key_values=filling, use_cache=True, logits_to_keep=1)
    synchronize()
    seconds = {"prepare": prepare_s, "prefill": time.perf_counter() - start}
    return Prefix(
        opening=opening,
        cache=cache,
        seconds=seconds,
        observation=observation,
        adapter=adapter,
        activation=activation,
    )


class AllLayersFilled(Exception):
    """Ends the pass of a prefix once the last layer has its keys and values.

    Nobody asks for what comes of a prefix's own tokens: the last layer's attention and MLP, which
    are a fifth of the work with four layers and a fortieth with thirty-two.
    """


class _FillingCache(DynamicCache):
    """Ends the pass itself, where nobody watches it."""

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, layer_idx: int, *args: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Store a layer's states."""
        found = super().update(key_states, value_states, layer_idx, *args)
        if layer_idx == len(self.layers) - 1:
            raise AllLayersFilled
        return found


@contextmanager
def continued(model: Any, prefix: Prefix) -> Iterator[None]:
    """Give the model a prefix's state, and its adapter, inside the block."""
    with _restored(model, prefix.opening.state), using(prefix.adapter):
        _assign(model, prefix.opening.state)
        yield


@contextmanager
def _restored(model: Any, names: Iterable[str]) -> Iterator[None]:
    """Restore attributes' values at the end, even after an exception."""
    before = {name: attrgetter(name)(model) for name in names}
    try:
        yield
    finally:
        _assign(model, before)


def _assign(model: Any, values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        owner, _, attribute = name.rpartition(".")
        setattr(attrgetter(owner)(model) if owner else model, attribute, value)
