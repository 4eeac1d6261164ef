"""Rows that began together and share a cache, and where their next tokens stand.

Shapes: R rows, Q new tokens, V vocabulary.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch

from encodeonce.models.kv.attention import attending
from encodeonce.models.kv.cache import NAME, CacheLayer, RaggedCache, ragged_attention
from encodeonce.models.kv.forks import Fork
from encodeonce.models.kv.layers.ragged import RaggedLayer
from encodeonce.models.kv.layers.shared import SharedLayer
from encodeonce.models.kv.selection import Entries
from encodeonce.models.language.activation import Activation
from encodeonce.models.language.adapting import Index, using
from encodeonce.models.language.prefix import Prefix


@dataclass(slots=True, kw_only=True)
class Cohort:
    """Rows with a cache, ready to go on."""

    cache: RaggedCache
    origins: list[int | None]
    """Position of each row's first token in the cache's growing part; None where the next token
    stands behind the entries that are left, as many as the first layer without a window has."""
    adapter: int
    """Under which all rows are."""
    activation: Activation | None = None
    """Where in their questions it begins."""

    def __len__(self) -> int:
        """Return R."""
        return len(self.origins)

    def positions(self) -> list[int]:
        """Return the position of each row's next token."""
        return [
            self.cache.num_entries(row) if origin is None else origin + self.cache.num_new
            for row, origin in enumerate(self.origins)
        ]

    def index(self, token_ids: torch.Tensor, num_tokens: int | None = None) -> Index:
        """Return the adapters of questions' tokens (R, Q), or of the first of them."""
        if self.activation is None:
            return self.adapter
        numbers = self.activation.numbers(self.adapter, token_ids.tolist())
        return [row[:num_tokens] for row in numbers]

    def keep(self, rows: Sequence[int]) -> None:
        """Drop all rows but these, which are renumbered in the order given."""
        self.cache.keep(rows)
        self.origins = [self.origins[row] for row in rows]


def cohort_behind(prefix: Prefix, paddings: Sequence[int], room: int) -> Cohort:
    """Return rows that continue a prefix uncompressed. The prefix is not copied.

    Args:
        prefix: lives as long as the rows.
        paddings: for each row, how many of its first tokens will be padding.
        room: tokens to make room for.
    """
    layers = [_behind(layer, prefix.num_tokens, paddings, room) for layer in prefix.layers]
    end = prefix.num_tokens + prefix.opening.position_offset
    return Cohort(
        cache=RaggedCache(layers, prefix.num_tokens),
        origins=[end - padding for padding in paddings],
        adapter=prefix.adapter,
        activation=prefix.activation,
    )


def _behind(layer: Any, num_tokens: int, paddings: Sequence[int], room: int) -> CacheLayer:
    keys, values = layer.keys[0], layer.values[0]
    if not layer.is_sliding:
        return SharedLayer(keys, values, paddings, room)
    # A window is short: every row has its own.
    assert not any(paddings), "padding would take up room in a window"
    window = int(layer.sliding_window)
    held = torch.arange(num_tokens - keys.shape[1], num_tokens, device=keys.device)
    entries = Entries(keys=keys, values=values, indices=held.expand(len(keys), -1))
    return RaggedLayer([entries] * len(paddings), ["model"] * len(paddings), room, window)


def cohort_of(forks: Sequence[Fork], offset: int, room: int) -> Cohort:
    """Return rows that continue compressed prompts, of which they have copies.

    Args:
        forks: one per row, all under the same adapter.
        offset: from a token's index to its position, where positions are the original ones.
        room: tokens to make room for.
    """
    layers = [
        RaggedLayer(
            [fork.layers[number].entries for fork in forks],
            [fork.precision for fork in forks],
            room,
            layer.window,
        )
        for number, layer in enumerate(forks[0].layers)
    ]
    evictions = {row: fork.eviction for row, fork in enumerate(forks) if fork.eviction}
    longest = max(fork.num_tokens for fork in forks)
    return Cohort(
        cache=RaggedCache(layers, longest, evictions),
        origins=[
            None if fork.positions == "compressed" else fork.num_tokens + offset for fork in forks
        ],
        adapter=forks[0].adapter,
        activation=forks[0].activation,
    )


def read(
    model: Any,
    cohort: Cohort,
    token_ids: torch.Tensor,
    watching: AbstractContextManager[None] | None = None,
) -> torch.Tensor:
    """Let rows read several tokens each; return the logits (R, V) float32 behind the last.

    Args:
        model: of transformers.
        cohort: the rows.
        token_ids: (R, Q), padded on the left.
        watching: is in force meanwhile.
    """
    # Who watches stands around the attention that is in force then.
    with torch.inference_mode(), over(model, cohort), watching or nullcontext():
        index = cohort.index(token_ids)
        logits: torch.Tensor = forward(model, cohort, token_ids, index, logits_to_keep=1).logits
    return logits[:, -1].float()


def teacher_forced(
    model: Any, cohort: Cohort, rows: Sequence[Sequence[int]], num_unasked: int = 0
) -> Iterator[torch.Tensor]:
    """Yield logits (R, V) after each token of given continuations, in the model's precision.

    Several tokens go through the model at once, as many as logits of 2^27 elements allow. At the
    end, the cache is as before.

    Args:
        model: of transformers.
        cohort: the rows.
        rows: tokens for each row, the same number for all; shorter ones padded on the right.
        num_unasked: first tokens of every row, logits after which are not yielded; with the next
            one, they are the question.
    """
    token_ids = torch.tensor(rows, device=model.device)
    vocabulary = model.config.get_text_config().vocab_size
    chunk = max(1, 2**27 // (len(rows) * vocabulary))
    with torch.inference_mode(), over(model, cohort):
        if num_unasked:
            # The last token of a question is under its adapter, however it was invoked.
            index = cohort.index(token_ids[:, : num_unasked + 1], num_unasked)
            forward(model, cohort, token_ids[:, :num_unasked], index, logits_to_keep=1)
        for some in token_ids[:, num_unasked:].split(chunk, dim=1):
            yield from forward(model, cohort, some).logits.unbind(1)
    cohort.cache.rewind()


def over(model: Any, cohort: Cohort) -> AbstractContextManager[None]:
    """Let a model attend to a cohort's cache inside the block."""
    return attending(model, NAME, ragged_attention(cohort.cache), with_masks=False)


def forward(
    model: Any,
    cohort: Cohort,
    token_ids: torch.Tensor,
    index: Index | None = None,
    **options: Any,
) -> Any:
    """Return the model's output for tokens (R, Q) that follow a cohort's rows; inside `over`.

    Args:
        model: of transformers.
        cohort: the rows.
        token_ids: (R, Q).
        index: adapters; None for the cohort's throughout.
        options: of the model's forward.
    """
    first = torch.tensor(cohort.positions(), device=token_ids.device)[:, None]
    positions = first + torch.arange(token_ids.shape[1], device=token_ids.device)
    with using(cohort.adapter if index is None else index):
        return model(
            input_ids=token_ids,
            position_ids=positions.clamp(min=0),  # of padding, whose results nobody sees
            past_key_values=cohort.cache,
            use_cache=True,
            **options,
        )
