"""One prefill of what all questions on some media begin with, up to the last visual token.

The boundary is a token's position and does not depend on which questions are asked. Every answer
from stored features continues such a prefix, also that of a single question, so that the prefix has
the same bits whoever else asks.

Shapes: P prefix tokens, B questions.
"""

import copy
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Protocol

import torch
from torch import nn
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from encodeonce.models.timing import synchronize


class PrefixError(ValueError):
    """A prompt does not begin with what the media's other prompts begin with."""


class Observation(Protocol):
    """What watches the prefill of a prefix and keeps what it saw, for those who made it."""

    def watching(self, model: nn.Module) -> AbstractContextManager[None]:
        """Watch a model for a while. What it computes does not change by a bit."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """How all prompts about some media begin, and how one goes on."""

    token_ids: tuple[int, ...]
    """Up to the last visual token."""
    inputs: Mapping[str, Any]
    """What the model's forward takes for these tokens."""
    prompt: Callable[[str], Sequence[int]]
    """Returns the token ids of the whole prompt with a question."""
    num_visual_units: int
    state: Mapping[str, Any]
    """What the model has to know of the opening when it goes on: attributes by dotted name."""
    is_visual: Sequence[bool]
    """Which of ``token_ids`` stand for features."""
    position_offset: int = 0
    """What a token behind the opening is further than its index, in positions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prefix:
    """A prefilled opening: its keys and values."""

    opening: Opening
    cache: DynamicCache
    seconds: Mapping[str, float]
    """What it took: ``prepare``, ``prefill``."""
    observation: Observation | None = None
    """What watched the prefill: where caches made of it are going to be compressed."""

    @property
    def num_tokens(self) -> int:
        """Tokens of the prompt that are prefilled; the cache may hold fewer entries."""
        return len(self.opening.token_ids)

    @property
    def layers(self) -> list[Any]:
        """Each layer's part of the cache, of transformers: ``keys`` and ``values`` (1, K, P, D)."""
        return _layers(self.cache)

    @property
    def is_sliding(self) -> bool:
        """Whether a layer looks back over a window only: there padding would take up room."""
        return any(layer.is_sliding for layer in self.layers)

    @property
    def nbytes(self) -> int:
        """Size of keys and values, bytes."""
        return sum(layer.keys.nbytes + layer.values.nbytes for layer in self.layers)

    def suffix(self, question: str) -> list[int]:
        """Return the tokens that a question adds.

        Raises:
            PrefixError: the prompt begins otherwise, or ends where the prefix does.
            ValueError: the question contains a placeholder.
        """
        token_ids = tuple(self.opening.prompt(question))
        if token_ids[: self.num_tokens] != self.opening.token_ids:
            raise PrefixError(
                "the chat template puts the question before the media, or lets it change what "
                "stands before them: prompts on one video do not begin alike, so their prefix "
                f"cannot be shared. Use a template with the media first. Question: {question!r}"
            )
        if len(token_ids) == self.num_tokens:
            raise PrefixError(f"the prompt ends with the last visual token: {question!r}")
        return list(token_ids[self.num_tokens :])

    def fork(self, num_questions: int = 1) -> DynamicCache:
        """Return a cache of B rows to go on from; this one stays as it is."""
        return fork(self.cache, num_questions)


def fork(cache: DynamicCache, num_rows: int) -> DynamicCache:
    """Return a cache that can grow on its own. Nothing is copied before it does.

    transformers' layers grow by reassigning their tensors, so those can be shared, also by rows.
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
        PrefixError: a layer is not of keys and values: it may be written to in place.
    """
    for layer in cache.layers:
        if not isinstance(layer, DynamicLayer):
            raise PrefixError(
                f"the language model keeps a {type(layer).__name__}, not keys and values alone: "
                "its state after the media cannot be shared between questions"
            )
    return list(cache.layers)


def prefill(
    model: Any, opening: Opening, prepare_s: float, observation: Observation | None = None
) -> Prefix:
    """Run the model over an opening.

    Args:
        model: a transformers model.
        opening: what to run over.
        prepare_s: seconds already spent on making ``opening``.
        observation: watches; it does not change what is computed.
    """
    watching = nullcontext() if observation is None else observation.watching(model)
    cache = DynamicCache(config=model.config.get_text_config())
    synchronize()
    start = time.perf_counter()
    with torch.inference_mode(), watching, _restored(model, opening.state):
        model(**opening.inputs, past_key_values=cache, use_cache=True, logits_to_keep=1)
    synchronize()
    seconds = {"prepare": prepare_s, "prefill": time.perf_counter() - start}
    return Prefix(opening=opening, cache=cache, seconds=seconds, observation=observation)


@contextmanager
def continued(model: Any, prefix: Prefix) -> Iterator[None]:
    """Give the model the state that belongs to a prefix, for a while."""
    with _restored(model, prefix.opening.state):
        _assign(model, prefix.opening.state)
        yield


@contextmanager
def _restored(model: Any, names: Iterable[str]) -> Iterator[None]:
    """Give attributes their values back at the end, also when something is raised."""
    before = {name: attrgetter(name)(model) for name in names}
    try:
        yield
    finally:
        _assign(model, before)


def _assign(model: Any, values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        owner, _, attribute = name.rpartition(".")
        setattr(attrgetter(owner)(model) if owner else model, attribute, value)
