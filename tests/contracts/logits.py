"""Answers compared by the logits of all their tokens.

Kernels choose how they block a multiplication by its shape, and some round a row otherwise beside
other rows. So what was computed in batches of different shapes is compared within a tolerance; its
bits are equal on some processors and not on others. What was computed in the same shapes is
compared bit for bit, by `Generation.logits_sha256`.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import pytest
import torch

from encodeonce.models.answer import Generation
from encodeonce.models.language.generation import Answering
from encodeonce.models.spec import GenerationSpec

TOLERANCE = 1e-5
"""Most that rounding may change a float32 logit, as a part of the largest one, or of 1. Kernels of
several processors were measured to change 2e-6 at most, two frames exchanged 8e-5 at least (in the
least sensitive family)."""


class Tokens(NamedTuple):
    """An answer, and the logits (T, V) that its T tokens were chosen by."""

    token_ids: Sequence[int]
    logits_TV: torch.Tensor

    def scale(self, step: int) -> float:
        """Return what a tolerance is a part of."""
        return max(1.0, float(self.logits_TV[step].abs().max()))

    def lead(self, step: int, other: int) -> float:
        """Return by how much a step's token leads another one."""
        return float(self.logits_TV[step, self.token_ids[step]] - self.logits_TV[step, other])


def generated(model: Any, spec: GenerationSpec, **inputs: torch.Tensor) -> Tokens:
    """Continue one prompt by plain transformers."""
    found = model.generate(
        **inputs,
        max_new_tokens=spec.max_new_tokens,
        do_sample=False,
        output_logits=True,
        return_dict_in_generate=True,
    )
    num_tokens = len(found.logits)
    return Tokens(found.sequences[0, -num_tokens:].tolist(), torch.cat(found.logits))


def assert_close(ours: Tokens, theirs: Tokens) -> None:
    """Compare two answers token by token.

    From where two tokens are so close that rounding decides, answers go apart for good: what
    follows is not compared.
    """
    for step in range(min(len(ours.token_ids), len(theirs.token_ids))):
        difference = (ours.logits_TV[step] - theirs.logits_TV[step]).abs().max()
        allowed = TOLERANCE * theirs.scale(step)
        assert difference <= allowed, f"logits of token {step} differ by {difference:.2g}"
        if ours.token_ids[step] != theirs.token_ids[step]:
            assert theirs.lead(step, ours.token_ids[step]) <= 2 * allowed
            return
    assert len(ours.token_ids) == len(theirs.token_ids)


class NotedLogits:
    """Records the logits of all answers that this process makes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._by_digest: dict[str, Tokens] = {}
        self._steps: dict[int, list[torch.Tensor]] = {}
        monkeypatch.setattr(Answering, "write", self._note(Answering.write))
        monkeypatch.setattr(Answering, "generation", self._finish(Answering.generation))

    def _note(self, write: Any) -> Any:
        def noted(answer: Answering, token: int, logits_V: torch.Tensor) -> None:
            if not answer.token_ids:
                self._steps[id(answer)] = []
            self._steps[id(answer)].append(logits_V)
            write(answer, token, logits_V)

        return noted

    def _finish(self, generation: Any) -> Any:
        def noted(answer: Answering, *args: Any) -> Generation:
            found: Generation = generation(answer, *args)
            logits = torch.stack(self._steps.pop(id(answer)))
            self._by_digest[found.logits_sha256] = Tokens(found.token_ids, logits)
            return found

        return noted

    def of(self, answer: Generation) -> Tokens:
        """Return an answer's tokens with their logits."""
        return self._by_digest[answer.logits_sha256]

    def assert_close(self, ours: Generation, theirs: Generation) -> None:
        """Compare two answers token by token; see `assert_close`."""
        assert_close(self.of(ours), self.of(theirs))

    def first_difference(self, ours: Generation, theirs: Generation) -> float:
        """Return the largest difference of the first token's logits."""
        one, other = (self.of(answer).logits_TV[0] for answer in (ours, theirs))
        return float((one - other).abs().max())

    def assert_no_close_calls(self) -> None:
        """Check that rounding chose no token of any answer: then texts may be compared."""
        assert self._by_digest
        for one in self._by_digest.values():
            for step, logits_V in enumerate(one.logits_TV):
                best, second = logits_V.topk(2).values.tolist()
                assert best - second > 10 * TOLERANCE * one.scale(step)
