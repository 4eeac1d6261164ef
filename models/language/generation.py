"""Generates answers greedily: the settings, the result and its measures.

Every answer, from pixels, from a full cache or from compressed ones, goes through `greedy`.

Shapes: B prompts, N tokens of a prompt, V vocabulary.
"""

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import torch
from pydantic import BaseModel, ConfigDict, Field
from transformers import StoppingCriteria, StoppingCriteriaList

from encodeonce.models.checkpoint.tensors import to_array
from encodeonce.models.timing import synchronize

Token = TypeVar("Token", int, str)
NUM_FIRST_LOGITS = 8
"""How many of the first token's logits, the largest ones, are kept with an answer."""


class GenerationSpec(BaseModel):
    """How answers are generated: greedily, so that two runs can be compared token by token."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_new_tokens: int = Field(default=32, ge=1, description="Longest answer, in tokens.")
    max_batch: int = Field(
        default=16, ge=1, description="Most questions on one video that are answered together."
    )
    max_forks: int = Field(
        default=64, ge=1, description="Most compressed caches that are decoded together."
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

    The answer's first token is left out: its logits come from the full prefill.
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
    logits_sha256: str
    """Digest of the float32 logits of every generated token: equal digests, equal bits."""
    first_logits: Mapping[int, float]
    """The largest of the first token's logits, by token id."""
    num_visual_units: int
    """Frames, tiles or images that the model saw."""
    num_prompt_tokens: int
    """Tokens before the answer, visual ones included."""
    seconds: Mapping[str, float] = field(default_factory=dict)
    """By stage: ``prepare`` (prompt, and projector or preprocessing), ``prefill``, ``compress``,
    ``generate``, ``compare`` (fidelity)."""
    kv: KVUse | None = None
    """Where the cache was compressed."""
    fidelity: Fidelity | None = None
    """Where it was asked for, and the cache was compressed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Greedy:
    """The continuations of B prompts, and the logits that they were chosen by."""

    token_ids: Sequence[list[int]]
    """Of each prompt, up to the first end-of-text token."""
    logits: Sequence[torch.Tensor]
    """(B, V) float32 before each new token, as the model gave them."""
    seconds: Mapping[str, float]
    """``prefill``: to the first token; ``generate``: from there."""


class _FirstToken(StoppingCriteria):
    """Never stops; notes the time when it is first asked, which is after the first token."""

    def __init__(self) -> None:
        self.at: float | None = None

    def __call__(
        self, input_ids: torch.Tensor, scores: torch.Tensor, **kwargs: Any
    ) -> torch.Tensor:
        if self.at is None:
            synchronize()
            self.at = time.perf_counter()
        return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)


def greedy(model: Any, inputs: Mapping[str, Any], max_new_tokens: int) -> Greedy:
    """Continue B prompts with the likeliest tokens, by transformers' ``generate``.

    Args:
        model: a transformers model with ``generate``, in the state that belongs to the prompts;
            observation or replaced attention is already in force.
        inputs: the whole prompts, ``input_ids`` and ``attention_mask`` of (B, N); optionally, as
            ``past_key_values``, a cache of B rows with their first tokens, which grows; and other
            arguments of the model's forward, such as pixels.
        max_new_tokens: for each prompt; fewer if all end earlier.
    """
    first_token = _FirstToken()
    synchronize()
    start = time.perf_counter()
    with torch.inference_mode():
        output = model.generate(
            **inputs,
            max_new_tokens=max_new_tokens,
            do_sample=False,
            num_beams=1,
            return_dict_in_generate=True,
            output_logits=True,
            stopping_criteria=StoppingCriteriaList([first_token]),
        )
    synchronize()
    end = time.perf_counter()
    assert first_token.at is not None
    rows = output.sequences[:, inputs["input_ids"].shape[1] :].tolist()
    eos = model.generation_config.eos_token_id
    return Greedy(
        token_ids=[until_end(tokens, eos) for tokens in rows],
        logits=[step.float() for step in output.logits],
        seconds={"prefill": first_token.at - start, "generate": end - first_token.at},
    )


def generations(
    tokenizer: Any, found: Greedy, num_prompt_tokens: Sequence[int], num_visual_units: int
) -> list[Generation]:
    """Return B answers; the seconds are booked on the first.

    Args:
        tokenizer: turns tokens into text.
        found: the prompts' continuations.
        num_prompt_tokens: of each prompt, padding not counted.
        num_visual_units: images in each prompt.
    """
    return [
        Generation(
            text=tokenizer.decode(tokens, skip_special_tokens=True).strip(),
            token_ids=tuple(tokens),
            logits_sha256=_digest(found.logits[: len(tokens)], row),
            first_logits=_largest(found.logits[0][row]),
            num_visual_units=num_visual_units,
            num_prompt_tokens=length,
            seconds=found.seconds if row == 0 else {},
        )
        for row, (tokens, length) in enumerate(zip(found.token_ids, num_prompt_tokens, strict=True))
    ]


def generate(
    model: Any,
    tokenizer: Any,
    inputs: Mapping[str, Any],
    spec: GenerationSpec,
    num_visual_units: int,
    prepare_s: float,
) -> Generation:
    """Generate greedily from one whole prompt, without a cache.

    Args:
        model: a transformers model with ``generate``.
        tokenizer: turns the new tokens into text.
        inputs: keyword arguments of ``generate``, including ``input_ids`` of shape (1, N).
        spec: how long the answer may be.
        num_visual_units: images in the prompt.
        prepare_s: seconds already spent on making ``inputs``.
    """
    found = greedy(model, inputs, spec.max_new_tokens)
    lengths = [inputs["input_ids"].shape[1]]
    (answer,) = generations(tokenizer, found, lengths, num_visual_units)
    return replace(answer, seconds={"prepare": prepare_s, **answer.seconds})


def until_end(token_ids: list[int], eos: int | list[int] | None) -> list[int]:
    """Return the tokens up to the first end-of-text token: those after it are padding."""
    ends = [eos] if isinstance(eos, int) else eos or []
    for position, token in enumerate(token_ids):
        if token in ends:
            return token_ids[: position + 1]
    return token_ids


def _digest(logits: Sequence[torch.Tensor], row: int) -> str:
    digest = hashlib.sha256()
    for step in logits:
        digest.update(to_array(step[row]).data)
    return digest.hexdigest()


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
