"""The distance between answers from a compressed cache and from the full one.

Zhu et al., FastCache, 2025 (arXiv:2503.08461), section 3, has the mixture of distances; the mean KL
divergence over the answer alone is ours.

Shapes: R rows, T tokens, V vocabulary, W width of the model, l layers.
"""

import math
from collections.abc import Sequence

import torch
from torch.nn import functional

from encodeonce.models.kv.trained.loss_spec import LossSpec


class Outputs:
    """What a model says about R rows of T tokens.

    Attributes:
        log_probs: (R, T, V), float32 at least.
        hidden: (R, T, W) behind each layer, float32 at least; none where they are not compared.
    """

    def __init__(self, logits: torch.Tensor, hidden: Sequence[torch.Tensor] = ()) -> None:
        """Take logits (R, T, V) and the layers' outputs (R, T, W)."""
        self.log_probs = _precise(logits).log_softmax(-1)
        self.hidden = [_precise(one) for one in hidden]

    @property
    def nbytes(self) -> int:
        """Of all tensors."""
        return self.log_probs.nbytes + sum(one.nbytes for one in self.hidden)


def _precise(states: torch.Tensor) -> torch.Tensor:
    return states.to(torch.promote_types(states.dtype, torch.float32))


def distance(
    spec: LossSpec,
    student: Outputs,
    teacher: Outputs,
    is_real: torch.Tensor,
    is_answer: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the loss and the mean KL divergence over the answer, both scalars; nats.

    Args:
        spec: of the loss.
        student: over the compressed cache.
        teacher: over the full cache.
        is_real: (R, T) bool: not padding.
        is_answer: (R, T) bool: the next token is the answer's.
    """
    divergence = mean_kl(student, teacher, is_answer)
    if spec.name == "kl":
        return divergence, divergence
    loss = mixture(spec, student, teacher, is_real)
    return (loss + divergence if spec.name == "mix+kl" else loss), divergence


def mean_kl(student: Outputs, teacher: Outputs, where: torch.Tensor) -> torch.Tensor:
    """Return the mean of KL(teacher || student) over some tokens."""
    one, other = student.log_probs, teacher.log_probs
    return _mean((other.exp() * (other - one)).sum(-1), where)


def mixture(
    spec: LossSpec, student: Outputs, teacher: Outputs, where: torch.Tensor
) -> torch.Tensor:
    """Return FastCache's mixture over some tokens."""
    one, other = student.log_probs, teacher.log_probs
    probs, expected = one.exp(), other.exp()
    # In float32 a probability may be 0 while its logarithm is finite: log of the mean, from logs.
    middle = torch.logaddexp(one, other) - math.log(2.0)
    shannon = 0.5 * (expected * (other - middle) + probs * (one - middle)).sum(-1)
    entropy = -(nucleus(expected, spec.top_p) * one).sum(-1)
    absolute = (probs - expected).abs().sum(-1)
    gamma = 1.0 - spec.alpha - spec.beta
    outputs = spec.alpha * entropy + spec.beta * shannon + gamma * absolute
    loss = (1.0 - spec.hidden_weight) * _mean(outputs, where)
    if spec.needs_hidden:
        states = sum(
            _mean(_apart(mine, its), where)
            for mine, its in zip(student.hidden, teacher.hidden, strict=True)
        )
        loss = loss + spec.hidden_weight * states / 2
    return loss


def nucleus(probs: torch.Tensor, top_p: float) -> torch.Tensor:
    """Return (..., V) probabilities of the likeliest tokens alone, renormalised.

    They are the fewest whose mass is at least ``top_p``.
    """
    ordered = probs.sort(-1, descending=True)
    inside = ordered.values.cumsum(-1) - ordered.values < top_p
    kept = probs * torch.zeros_like(inside).scatter(-1, ordered.indices, inside)
    return kept / kept.sum(-1, keepdim=True)


def _apart(mine: torch.Tensor, its: torch.Tensor) -> torch.Tensor:
    """Return the distance (R, T) of hidden states: mean square, and 1 - cosine of softmaxes."""
    square = (mine - its).square().mean(-1)
    return square + 1.0 - functional.cosine_similarity(mine.softmax(-1), its.softmax(-1), dim=-1)


def _mean(values: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
    return (values * where).sum() / where.sum()
