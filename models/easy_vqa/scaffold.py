"""A read-out that only training uses: what an answer depends on, asked for one by one."""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from encodeonce.datasets.benchmarks.easy_vqa import COLOURS, SHAPES
from encodeonce.models.easy_vqa.pictures import UNKNOWN, Pictures, words_of

ASKABLE = (*SHAPES, *COLOURS)
_NEGATIONS = ("no", "not")
_NUM_CLASSES = (len(SHAPES), len(COLOURS), len(ASKABLE), 2)


class Scaffold(nn.Module):
    """Asks the token before each answer, after the first layer, for four facts.

    They are the picture's shape and colour, what is asked for, and whether the question has a *not*
    in it. Whether a thing is there depends on all four, and says next to nothing about any one of
    them: without a read-out yes and no were still at chance after 500 steps, with one of shape and
    colour after the second layer after 300; with this one they are learnt by then.
    """

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(hidden_size)
        self.heads = nn.ModuleList([nn.Linear(hidden_size, count) for count in _NUM_CLASSES])

    def forward(self, hidden: torch.Tensor, facts: torch.Tensor) -> torch.Tensor:
        """Return the sum of the four mean cross-entropies, nats.

        Args:
            hidden: Hidden states of Q tokens, `(Q, D)`.
            facts: What they should tell, `(Q, 4)`; `UNKNOWN` is left out.
        """
        hidden = self.norm(hidden.float())
        losses = [
            cross_entropy(head(hidden), wanted)
            for head, wanted in zip(self.heads, facts.unbind(1), strict=True)
        ]
        return torch.stack(losses).sum()


def facts_about(pictures: Pictures, asked: Sequence[tuple[int, str]]) -> torch.Tensor:
    """Return the facts, `(Q, 4)`, of questions, each given with its picture's number."""
    return torch.tensor(
        [
            (int(pictures.shapes[number]), int(pictures.colours[number]), *_told_by(question))
            for number, question in asked
        ]
    )


def _told_by(question: str) -> tuple[int, int]:
    """Return what a question asks for, and whether it is negated."""
    words = words_of(question)
    named = [ASKABLE.index(word) for word in words if word in ASKABLE]
    return named[0] if named else UNKNOWN, int(any(word in words for word in _NEGATIONS))
