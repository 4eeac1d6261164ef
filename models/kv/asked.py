"""Questions about the same media: which are read together, and how they are padded.

Shapes: B questions.
"""

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass

import torch

from encodeonce.models.language.prefix import Prefix


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Questions about the same media."""

    key: Hashable
    """To find their answers by."""
    prefix: Prefix
    suffixes: Sequence[Sequence[int]]
    """The tokens of each question."""
    prepare_s: float
    """Seconds that ``suffixes`` took."""

    def prompt(self, question: int) -> tuple[int, ...]:
        """Return the token ids of a whole prompt."""
        return (*self.prefix.opening.token_ids, *self.suffixes[question])

    def padded(self, batch: Sequence[int], device: torch.device) -> tuple[torch.Tensor, list[int]]:
        """Return some questions (B, longest), padded on the left, and how much each is."""
        some = [list(self.suffixes[question]) for question in batch]
        longest = max(map(len, some))
        paddings = [longest - len(suffix) for suffix in some]
        # Any non-visual token will do, as it is masked.
        filled = [
            [*suffix[:1] * count, *suffix] for suffix, count in zip(some, paddings, strict=True)
        ]
        return torch.tensor(filled, device=device), paddings


def batches(
    suffixes: Sequence[Sequence[int]], max_batch: int, same_length: bool
) -> Iterator[tuple[int, ...]]:
    """Yield the numbers of questions to read together, in an order that depends only on them.

    None is padded to more than twice its length and 64 tokens, so that one long question does not
    make many short ones as expensive as itself.

    Args:
        suffixes: tokens of each question.
        max_batch: most questions in a batch.
        same_length: whether to avoid padding altogether.
    """
    batch: list[int] = []
    for n in sorted(range(len(suffixes)), key=lambda n: (len(suffixes[n]), list(suffixes[n]))):
        shortest = len(suffixes[batch[0]]) if batch else len(suffixes[n])
        most = shortest if same_length else 2 * shortest + 64
        if len(batch) == max_batch or len(suffixes[n]) > most:
            yield tuple(batch)
            batch = []
        batch.append(n)
    if batch:
        yield tuple(batch)
