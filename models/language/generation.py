"""Greedy generation: an answer while it is written.

Shapes: V vocabulary.
"""

import hashlib
from collections.abc import Collection
from typing import Any

import torch

from encodeonce.models.answer import NUM_FIRST_LOGITS, Generation, KVUse
from encodeonce.models.checkpoint.tensors import to_array


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
