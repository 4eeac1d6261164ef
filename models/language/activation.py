"""Activated LoRA: an adapter that begins in the middle of a prompt.

Greenewald et al., Activated LoRA, 2025 (arXiv:2504.12397), section 3: weights are adapted from the
first token of the invocation on, and what stands before it has the base's keys and values, which
all such adapters share. Where the invocation occurs several times, the last counts, as in peft.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from encodeonce.models.language.adapting import BASE


class NotInvoked(ValueError):
    """A prompt does not contain the invocation of the adapter that it is to be read under."""


@dataclass(frozen=True, slots=True)
class Activation:
    """What has to stand in a prompt for an adapter to begin."""

    invocation: tuple[int, ...]
    """Token ids, at least one."""

    def start(self, token_ids: Sequence[int]) -> int | None:
        """Return where the last invocation begins; None if there is none."""
        wanted, size = list(self.invocation), len(self.invocation)
        for at in range(len(token_ids) - size, -1, -1):
            if list(token_ids[at : at + size]) == wanted:
                return at
        return None

    def numbers(self, adapter: int, rows: Sequence[Sequence[int]]) -> list[list[int]]:
        """Return the adapter of each token of some rows.

        Args:
            adapter: the number of the adapter.
            rows: token ids of what stands behind the media in a prompt.

        Raises:
            NotInvoked: a row has no invocation.
        """
        found = []
        for row in rows:
            start = self.start(row)
            if start is None:
                raise NotInvoked(
                    "the adapter is an activated LoRA, and the prompt behind the media does not "
                    f"contain its invocation, the tokens {list(self.invocation)}"
                )
            found.append([BASE] * start + [adapter] * (len(row) - start))
        return found
