"""Computes log-likelihoods of given continuations: a question's options, or a reference text.

Teacher-forced; log-softmax in float32. Each continuation is tokenised separately, so that all
options continue the same prompt, and has no end-of-text token.

Shapes: C continuations, L tokens of the longest, S tokens of a question, V vocabulary.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import DynamicCache

from encodeonce.models.checkpoint.rows import companies
from encodeonce.models.language.adapting import using
from encodeonce.models.language.prefix import Prefix, fork


def tokenize_continuations(tokenizer: Any, continuations: Sequence[str]) -> list[list[int]]:
    """Return the token ids of each text.

    Raises:
        ValueError: a text has no tokens, or there is none.
    """
    token_ids = [tokenizer(text, add_special_tokens=False).input_ids for text in continuations]
    if not token_ids or not all(token_ids):
        raise ValueError(f"a likelihood needs non-empty texts; got {continuations!r}")
    return token_ids


def log_probs_from(
    model: Any, prefix: Prefix, suffix: Sequence[int], continuations: Sequence[Sequence[int]]
) -> "Scored":
    """Return the log-probability of each continuation of a prompt.

    Args:
        model: a transformers model, inside `continued`.
        prefix: of the prompt.
        suffix: the rest of the prompt.
        continuations: token ids of each.
    """
    logits_CLV = logits_from(model, prefix, suffix, continuations)
    pairs = list(zip(logits_CLV, continuations, strict=True))
    return Scored(
        first_logits=logits_CLV[0, 0],
        log_probs=[token_log_probs(logits_LV, ids) for logits_LV, ids in pairs],
        are_greedy=[are_likeliest(logits_LV, ids) for logits_LV, ids in pairs],
    )


def logits_from(
    model: Any, prefix: Prefix, suffix: Sequence[int], continuations: Sequence[Sequence[int]]
) -> torch.Tensor:
    """Return the logits (C, L, V) before each token of continuations; see `log_probs_from`."""
    cache = prefix.fork()
    with using(prefix.index([suffix])):
        first_1LV = read_on(model, [suffix], cache, logits_to_keep=1)
    logits_CLV = first_1LV.expand(len(continuations), 1, -1)
    if max(map(len, continuations)) > 1:
        rest: list[torch.Tensor] = []
        for some in companies(model, continuations):
            rest += _behind(model, cache, some)
        logits_CLV = torch.cat([logits_CLV, pad_sequence(rest, batch_first=True)], dim=1)
    return logits_CLV


def _behind(
    model: Any, cache: DynamicCache, continuations: Sequence[Sequence[int]]
) -> torch.Tensor:
    """Return the logits (C, L - 1, V) after each token of the continuations but the last."""
    longest = max(2, *map(len, continuations))
    # Padded on the right, where causal attention never looks.
    rows = [[*ids[:-1], *[ids[0]] * (longest - len(ids))] for ids in continuations]
    return read_on(model, rows, fork(cache, len(rows)), logits_to_keep=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """Continuations of one prompt."""

    first_logits: torch.Tensor
    """(V,) logits after the prompt."""
    log_probs: Sequence[torch.Tensor]
    """Of each continuation, every token's log-probability, (length,) float32."""
    are_greedy: Sequence[bool]
    """Whether each continuation is made of the likeliest tokens."""

    def sums(self) -> tuple[float, ...]:
        """Return each continuation's log-probability."""
        return tuple(float(one.sum()) for one in self.log_probs)

    def firsts(self) -> tuple[float, ...]:
        """Return the log-probability of each continuation's first token."""
        return tuple(float(one[0]) for one in self.log_probs)


def log_probs_at_once(
    model: Any, inputs: Mapping[str, Any], continuations: Sequence[Sequence[int]]
) -> Scored:
    """Return the same from whole prompts: one forward pass each, with nothing shared.

    Args:
        model: a transformers model.
        inputs: arguments of its forward for the prompt (1, N).
        continuations: token ids of each.
    """
    found = []
    for ids in continuations:
        with torch.inference_mode():
            extended = extended_inputs(model, inputs, ids)
            found.append(model(**extended, logits_to_keep=len(ids) + 1).logits[0, :-1])
    both = list(zip(found, continuations, strict=True))
    return Scored(
        first_logits=found[0][0],
        log_probs=[token_log_probs(logits_LV, ids) for logits_LV, ids in both],
        are_greedy=[are_likeliest(logits_LV, ids) for logits_LV, ids in both],
    )


def read_on(
    model: Any, rows: Sequence[Sequence[int]], cache: DynamicCache, logits_to_keep: int = 1
) -> torch.Tensor:
    """Run a model over token ids after a cache, which grows; return logits (B, kept, V)."""
    input_ids = torch.tensor(rows, device=model.device)
    with torch.inference_mode():
        output = model(
            input_ids=input_ids,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=logits_to_keep,
        )
    return torch.as_tensor(output.logits)


def token_log_probs(logits_LV: torch.Tensor, ids: Sequence[int]) -> torch.Tensor:
    """Return the log-probability of each token, float32, from the logits before it."""
    chosen = torch.tensor(ids, device=logits_LV.device)
    log_softmax = logits_LV[: len(ids)].float().log_softmax(-1)
    return log_softmax.gather(-1, chosen[:, None])[:, 0]


def are_likeliest(logits_LV: torch.Tensor, ids: Sequence[int]) -> bool:
    """Return whether greedy generation would take each token, from the logits before it."""
    return logits_LV[: len(ids)].argmax(-1).tolist() == list(ids)


def extended_inputs(model: Any, inputs: Mapping[str, Any], ids: Sequence[int]) -> dict[str, Any]:
    """Return a forward's arguments for a prompt (1, N) followed by more tokens."""
    more = torch.tensor([ids], device=model.device)
    extended = dict(inputs)
    for name in ("token_type_ids", "mm_token_type_ids"):
        if name in inputs:
            extended[name] = torch.cat([inputs[name], torch.zeros_like(more)], dim=1)
    extended["attention_mask"] = torch.cat([inputs["attention_mask"], torch.ones_like(more)], dim=1)
    if "inputs_embeds" in inputs:
        extended.pop("input_ids", None)
        embedded = model.get_input_embeddings()(more)
        extended["inputs_embeds"] = torch.cat([inputs["inputs_embeds"], embedded], dim=1)
    else:
        extended["input_ids"] = torch.cat([inputs["input_ids"], more], dim=1)
    return extended
