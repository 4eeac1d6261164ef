"""Greedy generation: the settings, an answer while it is written, the result and its measures.

Shapes: V vocabulary.
"""

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from pydantic import BaseModel, ConfigDict, Field

from encodeonce.models.checkpoint.tensors import to_array

Token = TypeVar("Token", int, str)
NUM_FIRST_LOGITS = 8
"""How many of the first token's logits, the largest ones, are kept with an answer."""


class GenerationSpec(BaseModel):
    """How answers are generated: greedily, so that two runs can be compared token by token."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_new_tokens: int = Field(default=32, ge=1, description="Longest answer, in tokens.")
    max_batch: int = Field(
        default=16,
        ge=1,
        description="Answers that are decoded together, about any media: places in a batch.",
    )
    max_forks: int = Field(
        default=64,
        ge=1,
        description="Most compressed caches that are decoded together: settings times max_batch, "
        "rounded down to whole settings, at least one.",
    )
    max_cache_gib: float | None = Field(
        default=None,
        gt=0,
        description="GiB of keys and values that may wait for others to be decoded with; null: a "
        "share of what the device has free. Changes no answer.",
    )
    cuda_graphs: bool = Field(
        default=False,
        description="On a GPU, record a decode step as a CUDA graph and replay it while its shapes "
        "repeat. Nothing on a CPU.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class KVUse:
    """Bytes of one question's keys and values, scales of quantised entries included."""

    full_bytes: int
    """Of the whole prompt in the model's precision."""
    kept_bytes: int
    """Of the entries of the prompt that the method kept, as stored."""
    kept_visual_bytes: int
    """The part of ``kept_bytes`` that belongs to visual tokens."""
    full_visual_bytes: int
    """The part of ``full_bytes`` that belongs to visual tokens."""
    full_end_bytes: int
    """Of prompt and answer, uncompressed."""
    end_bytes: int
    """Of everything held when the answer ended."""
    keep_by_layer: tuple[float, ...]
    """Kept bytes over full bytes of the prompt, by layer."""

    @property
    def keep(self) -> float:
        """Fraction of the prompt's bytes that was kept."""
        return self.kept_bytes / self.full_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Fidelity:
    """How a compressed cache continues the full cache's own greedy answer, teacher-forced.

    Where prompts are compressed behind their questions, the answer's first token is left out: its
    logits come from the full prefill. Where the media's part is compressed alone, it counts.
    """

    num_tokens: int
    num_agreeing: int
    """Number of positions where both caches' likeliest token is the same."""
    total_kl: float
    """Sum over positions of KL(full || compressed), nats, from float32 log-softmax."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """A generated answer and its cost."""

    text: str
    token_ids: tuple[int, ...]
    logits_sha256: str | None
    """Digest of the float32 logits of every generated token: equal digests, equal bits. None where
    an engine gives the largest ones only."""
    first_logits: Mapping[int, float]
    """The largest of the first token's logits, by token id."""
    num_visual_units: int
    """Frames, tiles or images that the model saw."""
    num_prompt_tokens: int
    """Tokens before the answer, visual ones included."""
    num_prefix_tokens: int = 0
    """Of these, up to the last visual token: what questions about the same media share. 0 where
    the prompt was not prefilled in two parts."""
    num_cached_tokens: int = 0
    """Of the prompt's tokens, those whose keys and values another engine found in its own prefix
    cache; 0 where prefixes are shared by this program, which needs no look-up."""
    seconds: Mapping[str, float] = field(default_factory=dict)
    """By stage: ``prepare`` (prompt, and projector or preprocessing), ``prefill``, ``compress``,
    ``generate``, ``compare`` (fidelity)."""
    kv: KVUse | None = None
    """Where the cache was compressed."""
    fidelity: Fidelity | None = None
    """Where it was asked for, and the cache was compressed."""


class Answering:
    """An answer that is being written, token by token."""

    def __init__(
        self,
        ends: Collection[int],
        max_new_tokens: int,
        num_prompt_tokens: int,
        num_visual_units: int,
        *,
        keeps_logits: bool = False,
        num_prefix_tokens: int = 0,
    ) -> None:
        """Begin an answer.

        Args:
            ends: end-of-text tokens.
            max_new_tokens: when it ends at the latest.
            num_prompt_tokens: of the prompt, padding not counted.
            num_visual_units: images in the prompt.
            keeps_logits: whether all logits are kept, not only digested.
            num_prefix_tokens: of the part of the prompt that was prefilled first.
        """
        self._ends, self._max_new_tokens = ends, max_new_tokens
        self._num_prompt_tokens, self._num_visual_units = num_prompt_tokens, num_visual_units
        self._keeps_logits = keeps_logits
        self._num_prefix_tokens = num_prefix_tokens
        self._digest = hashlib.sha256()
        self._first_logits: dict[int, float] = {}
        self.token_ids: list[int] = []
        self.logits: list[torch.Tensor] = []
        """(V,) float32 before each token, if they are kept."""
        self.seconds: dict[str, float] = {}

    def write(self, token: int, logits_V: torch.Tensor) -> None:
        """Add a token, and the float32 logits that it was chosen by."""
        if not self.token_ids:
            self._first_logits = _largest(logits_V)
        self._digest.update(to_array(logits_V).data)
        self.token_ids.append(token)
        if self._keeps_logits:
            self.logits.append(logits_V)

    @property
    def has_ended(self) -> bool:
        """Whether it ends with an end-of-text token, or is as long as it may be."""
        return len(self.token_ids) == self._max_new_tokens or self.token_ids[-1] in self._ends

    @property
    def num_left(self) -> int:
        """Most tokens that may follow."""
        return self._max_new_tokens - len(self.token_ids)

    def spend(self, stage: str, seconds: float) -> None:
        """Book seconds."""
        self.seconds[stage] = self.seconds.get(stage, 0.0) + seconds

    def generation(self, tokenizer: Any, kv: KVUse | None = None) -> Generation:
        """Return the finished answer."""
        return Generation(
            text=tokenizer.decode(self.token_ids, skip_special_tokens=True).strip(),
            token_ids=tuple(self.token_ids),
            logits_sha256=self._digest.hexdigest(),
            first_logits=self._first_logits,
            num_visual_units=self._num_visual_units,
            num_prompt_tokens=self._num_prompt_tokens,
            num_prefix_tokens=self._num_prefix_tokens,
            seconds=self.seconds,
            kv=kv,
        )


def ends_of(model: Any) -> frozenset[int]:
    """Return a transformers model's end-of-text tokens."""
    eos = model.generation_config.eos_token_id
    return frozenset([eos] if isinstance(eos, int) else eos or [])


def _largest(logits_V: torch.Tensor) -> dict[int, float]:
    values, token_ids = logits_V.topk(min(NUM_FIRST_LOGITS, len(logits_V)))
    return dict(zip(token_ids.tolist(), values.tolist(), strict=True))


def largest_difference(ours: Mapping[Token, float], theirs: Mapping[Token, float]) -> float:
    """Return the largest absolute difference between two answers' `Generation.first_logits`.

    For a token that only one of them kept, the other's logit is at most the smallest that it kept,
    which gives a lower bound of the difference.
    """
    differences = [abs(ours[token] - theirs[token]) for token in ours.keys() & theirs.keys()]
    for one, other in ((ours, theirs), (theirs, ours)):
        least = min(other.values())
        differences += [max(0.0, one[token] - least) for token in one.keys() - other.keys()]
    return max(differences, default=0.0)
