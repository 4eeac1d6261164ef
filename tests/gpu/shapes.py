"""Shapes of decode steps, and what attention over them should give."""

from dataclasses import dataclass

import torch

from encodeonce.models.kv.kernels.parts import Part, bias_of


@dataclass(frozen=True, slots=True, kw_only=True)
class PartCase:
    """Queries over one part of the keys: B, H, Q, S, D."""

    name: str
    batch: int
    heads: int
    queries: int
    keys: int
    width: int = 128
    is_masked: bool = False

    def tensors(
        self, device: torch.device, dtype: torch.dtype
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Return queries, keys, values and bias, drawn from a normal distribution."""
        chance = torch.Generator().manual_seed(0)

        def drawn(size: int) -> torch.Tensor:
            shape = (self.batch, self.heads, size, self.width)
            return torch.randn(shape, generator=chance).to(device, dtype)

        bias = None
        if self.is_masked:  # the first keys of each row of the batch are hidden, as padding is
            starts = torch.randint(0, self.keys, (self.batch, 1), generator=chance)
            visible = torch.arange(self.keys) >= starts
            bias = bias_of(visible[:, None, None].to(device), dtype)
        return drawn(self.queries), drawn(self.keys), drawn(self.keys), bias


PARTS = (
    PartCase(name="prefix of 4,096, 48 queries", batch=1, heads=32, queries=48, keys=4096),
    PartCase(name="prefix of 4,096, 4 x 28 queries", batch=1, heads=4, queries=112, keys=4096),
    PartCase(name="prefix of 73, width 64", batch=1, heads=14, queries=3, keys=73, width=64),
    PartCase(name="48 own tokens", batch=48, heads=32, queries=1, keys=48),
    PartCase(name="45 padded tokens", batch=48, heads=32, queries=1, keys=45, is_masked=True),
    PartCase(name="room of 64, 7 queries", batch=16, heads=4, queries=7, keys=64, is_masked=True),
)


def exact(
    queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, bias: torch.Tensor | None
) -> Part:
    """Return the attention in float64, on the host."""
    one, two, three = (states.double().cpu() for states in (queries, keys, values))
    scores = one @ two.transpose(-1, -2) * queries.shape[-1] ** -0.5
    if bias is not None:
        scores = scores + bias.double().cpu()
    return Part(scores.softmax(-1) @ three, scores.logsumexp(-1))
