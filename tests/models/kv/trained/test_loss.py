"""Each distance against numpy, position by position."""

import numpy as np
import pytest
import torch

from encodeonce.datasets.refusals import Refused, checked
from encodeonce.models.kv.trained.loss import Outputs, distance, mixture, nucleus
from encodeonce.models.kv.trained.loss_spec import LossSpec

R, T, V, W, L = 2, 5, 7, 4, 3
REAL = torch.tensor([[1, 1, 1, 1, 0], [1, 1, 1, 1, 1]], dtype=torch.bool)
ANSWER = torch.tensor([[0, 0, 1, 1, 0], [0, 0, 0, 1, 1]], dtype=torch.bool)


def outputs(seed: int) -> Outputs:
    generator = torch.Generator().manual_seed(seed)
    hidden = [torch.randn(R, T, W, generator=generator) for _ in range(L)]
    return Outputs(3 * torch.randn(R, T, V, generator=generator), hidden)


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max())
    return e / e.sum()


def by_hand(spec: LossSpec, where: torch.Tensor) -> dict[str, float]:
    student, teacher = outputs(0), outputs(1)
    sums = dict.fromkeys(("ce", "js", "l1", "kl", "hidden"), 0.0)
    for r in range(R):
        for t in range(T):
            if not where[r, t]:
                continue
            s, p = (one.log_probs[r, t].exp().double().numpy() for one in (student, teacher))
            mass, target = 0.0, np.zeros(V)
            for token in np.argsort(-p):
                if mass < spec.top_p:
                    target[token] = p[token]
                mass += p[token]
            target /= target.sum()
            m = (s + p) / 2
            sums["ce"] -= (target * np.log(s)).sum()
            sums["js"] += 0.5 * (p * np.log(p / m)).sum() + 0.5 * (s * np.log(s / m)).sum()
            sums["l1"] += np.abs(s - p).sum()
            sums["kl"] += (p * np.log(p / s)).sum()
            for layer in range(L):
                a, b = (one.hidden[layer][r, t].double().numpy() for one in (student, teacher))
                x, y = softmax(a), softmax(b)
                cosine = x @ y / np.linalg.norm(x) / np.linalg.norm(y)
                sums["hidden"] += ((a - b) ** 2).mean() + 1 - cosine
    return {name: value / int(where.sum()) for name, value in sums.items()}


SPECS = [
    LossSpec(),
    LossSpec(alpha=1.0, beta=0.0, hidden_weight=0.0),
    LossSpec(alpha=0.0, beta=1.0, hidden_weight=0.0, top_p=0.3),
    LossSpec(alpha=0.0, beta=0.0, hidden_weight=0.0),
    LossSpec(hidden_weight=1.0, top_p=0.5),
]


@pytest.mark.parametrize("spec", SPECS)
def test_the_mixture_is_its_parts(spec: LossSpec) -> None:
    parts = by_hand(spec, REAL)
    gamma = 1 - spec.alpha - spec.beta
    logits = spec.alpha * parts["ce"] + spec.beta * parts["js"] + gamma * parts["l1"]
    expected = (1 - spec.hidden_weight) * logits + spec.hidden_weight * parts["hidden"] / 2
    assert float(mixture(spec, outputs(0), outputs(1), REAL)) == pytest.approx(expected, rel=1e-5)


def test_the_loss_is_what_its_name_says() -> None:
    kl = by_hand(LossSpec(), ANSWER)["kl"]
    mix = float(mixture(LossSpec(), outputs(0), outputs(1), REAL))
    for name, expected in (("kl", kl), ("mix", mix), ("mix+kl", mix + kl)):
        spec = LossSpec(name=name)
        loss, divergence = distance(spec, outputs(0), outputs(1), REAL, ANSWER)
        assert float(loss) == pytest.approx(expected, rel=1e-5)
        assert float(divergence) == pytest.approx(kl, rel=1e-5)


def test_what_is_padding_does_not_count() -> None:
    one, other = outputs(0), outputs(0)
    other.log_probs[0, 4] = torch.randn(V).log_softmax(-1)
    other.hidden[0][0, 4] += 1
    for spec in SPECS:
        expected = mixture(spec, one, outputs(1), REAL)
        assert torch.equal(mixture(spec, other, outputs(1), REAL), expected)


def test_the_same_outputs_are_at_no_distance() -> None:
    spec = LossSpec(alpha=0.0, beta=0.5)
    loss, divergence = distance(spec, outputs(0), outputs(0), REAL, ANSWER)
    assert float(loss) == pytest.approx(0.0, abs=1e-6)
    assert float(divergence) == 0.0


def test_impossible_tokens_give_no_nan() -> None:
    logits = torch.full((1, 1, 3), -1e4)
    logits[..., 0] = 0.0
    other = logits.flip(-1).requires_grad_()
    where = torch.ones(1, 1, dtype=torch.bool)
    spec = LossSpec(hidden_weight=0.0)
    loss, _ = distance(spec, Outputs(other), Outputs(logits), where, where)
    loss.backward()
    assert other.grad is not None and other.grad.isfinite().all()


def test_the_nucleus_holds_the_token_that_crosses() -> None:
    probs = torch.tensor([0.5, 0.1, 0.3, 0.1])
    assert torch.allclose(nucleus(probs, 0.6), torch.tensor([0.625, 0.0, 0.375, 0.0]))
    assert torch.allclose(nucleus(probs, 1.0), probs)


def test_shares_of_more_than_one_are_refused() -> None:
    with pytest.raises(Refused, match=r"alpha \+ beta must be at most 1; got 0.8 \+ 0.3"):
        checked(LossSpec, {"alpha": 0.8, "beta": 0.3})
