"""What comes back from a model: answers, likelihoods, and what they cost. Values, no tensors."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

Token = TypeVar("Token", int, str)
NUM_FIRST_LOGITS = 8
"""How many of the first token's logits, the largest ones, are kept with an answer."""


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
    """Of the prompt's tokens, those whose keys and values vLLM found in its own prefix cache; 0
    where prefixes are shared by this program, which needs no look-up."""
    seconds: Mapping[str, float] = field(default_factory=dict)
    """By stage: ``prepare`` (prompt, and projector or preprocessing), ``prefill``, ``compress``,
    ``generate``, ``compare`` (fidelity)."""
    kv: KVUse | None = None
    """Where the cache was compressed."""
    fidelity: Fidelity | None = None
    """Where it was asked for, and the cache was compressed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Likelihoods:
    """A model's likelihoods of some texts as the answer to one question."""

    log_probs: tuple[float, ...]
    """Natural logarithm of each text's probability."""
    num_tokens: tuple[int, ...]
    """Tokens of each text."""
    first_log_probs: tuple[float, ...] = ()
    """The part of ``log_probs`` that is the first token's. Under a compressed cache it comes from
    the full prefill, so that perplexities may leave it out."""
    are_greedy: tuple[bool, ...] = ()
    """Whether greedy generation would begin with each text."""
    classes: tuple[str, ...] = ()
    """The texts, where they are the classes of an adapter's head."""
    kv: KVUse | None = None
    """Where the cache was compressed."""
    num_visual_units: int
    num_prompt_tokens: int
    seconds: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedWeights:
    """What a decoder holds, and what loading it took."""

    bytes_by_part: Mapping[str, int]
    """Of parameters and buffers: ``layers`` (what is quantised), ``embeddings``, ``head``,
    ``projector``, ``other``. What is tied is counted once."""
    load_s: float
    peak_bytes: int | None
    """Most memory held while loading: allocated on the GPU, or resident; None where the system
    does not say."""
    kernels: Mapping[str, str] = field(default_factory=dict)
    """What will attend to its caches while it decodes, by what is attended to: see
    `models.kv.kernels.choice`."""

    @property
    def num_bytes(self) -> int:
        """All parts together."""
        return sum(self.bytes_by_part.values())


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


def sum_seconds(stages: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Add up seconds by stage."""
    total: dict[str, float] = {}
    for seconds in stages:
        for stage, value in seconds.items():
            total[stage] = total.get(stage, 0.0) + value
    return total
