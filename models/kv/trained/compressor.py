"""A compressor's nets: an MLP for each layer merges f neighbouring entries into one.

Zhu et al., FastCache: Optimizing Multimodal LLM Serving through Lightweight KV-Cache Compression
Framework, 2025 (arXiv:2503.08461), section 3: with x the f keys (or values) of a group behind one
another, the merged entry is MLP(x) = W3 relu(W2 relu(W1 x + b1) + b2) + b3. Keys are taken after
rotation. The nets of a layer are shared by its heads; keys and values, and visual and text tokens,
have nets of their own.

Ours adds the mean of the f entries (``skip: mean``) and begins with W3 = 0, so that training begins
at mean pooling.

Shapes: L layers, K heads of keys, N tokens, n entries left, S groups, f factor, D width of a head.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import nn
from torch.nn import functional

from encodeonce.models.kv.trained.grouping import Grouping
from encodeonce.models.kv.trained.header import CompressorForm

Side = Literal["keys", "values"]
SIDES: tuple[Side, Side] = ("keys", "values")
NUM_MATRICES = 3


class MergingNet(nn.Module):
    """The MLPs of all layers at once: weights are stacked along L."""

    def __init__(self, num_layers: int, width: int, form: CompressorForm, dropout: float) -> None:
        """Draw weights as torch.nn.Linear does; the last matrix is 0 where there is a skip.

        Args:
            num_layers: L.
            width: D.
            form: of the compressor.
            dropout: probability, behind both inner layers, while training.
        """
        super().__init__()
        self._factor, self._dropout = form.factor, dropout
        self._has_skip = form.skip == "mean"
        inner = form.hidden or width
        sizes = (form.factor * width, inner, inner, width)
        for number, (before, after) in enumerate(zip(sizes, sizes[1:], strict=False), 1):
            bound = before**-0.5
            weight = torch.empty(num_layers, before, after).uniform_(-bound, bound)
            bias = torch.empty(num_layers, 1, after).uniform_(-bound, bound)
            if number == NUM_MATRICES and self._has_skip:
                weight, bias = torch.zeros_like(weight), torch.zeros_like(bias)
            self.register_parameter(f"weight{number}", nn.Parameter(weight))
            self.register_parameter(f"bias{number}", nn.Parameter(bias))

    def forward(self, groups: torch.Tensor, layers: slice = slice(None)) -> torch.Tensor:
        """Return merged entries (L, S, D) of groups (L, S, f x D), in their precision.

        Args:
            groups: the entries of each group, behind one another.
            layers: which of the nets, one for each of the L of ``groups``.
        """
        states = groups
        for number in range(1, NUM_MATRICES + 1):
            weight = self.get_parameter(f"weight{number}")[layers].to(groups.dtype)
            bias = self.get_parameter(f"bias{number}")[layers].to(groups.dtype)
            states = torch.baddbmm(bias, states, weight)
            if number < NUM_MATRICES:
                states = functional.dropout(states.relu(), self._dropout, self.training)
        if self._has_skip:
            states = states + groups.unflatten(-1, (self._factor, -1)).mean(-2)
        return states


class Compressor(nn.Module):
    """The nets of a compressor: ``visual_keys``, ``visual_values``, and so on."""

    def __init__(
        self, form: CompressorForm, num_layers: int, width: int, dropout: float = 0.0
    ) -> None:
        """Make nets with new weights.

        Args:
            form: of the compressor.
            num_layers: L: layers that are compressed.
            width: D.
            dropout: while training.
        """
        super().__init__()
        self.form = form
        self.nets = nn.ModuleDict(
            {
                f"{kind}_{side}": MergingNet(num_layers, width, form, dropout)
                for kind in form.kinds
                for side in SIDES
            }
        )

    def forward(
        self,
        keys: torch.Tensor,
        values: torch.Tensor,
        grouping: Grouping,
        layers: slice = slice(None),
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return merged keys and values (L, K, n, D).

        Args:
            keys: (L, K, N, D), after rotation.
            values: (L, K, N, D).
            grouping: of the N tokens.
            layers: which of the compressor's, one for each of the L.
        """
        return (
            self._merged(keys, "keys", grouping, layers),
            self._merged(values, "values", grouping, layers),
        )

    def _merged(
        self, states: torch.Tensor, side: Side, grouping: Grouping, layers: slice
    ) -> torch.Tensor:
        parts = [states.index_select(2, grouping.raw)]
        for kind, tokens in grouping.groups.items():
            num_layers, num_heads, _, _ = states.shape
            members = states.index_select(2, tokens.flatten())
            rows = members.view(num_layers, num_heads * len(tokens), -1)
            net = self.nets[f"{kind}_{side}"]
            parts.append(net(rows, layers).view(num_layers, num_heads, len(tokens), -1))
        return torch.cat(parts, dim=2).index_select(2, grouping.order)


def new_compressor(
    form: CompressorForm, num_layers: int, width: int, dropout: float, seed: int
) -> Compressor:
    """Return nets to be trained, whose weights follow from the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Compressor(form, num_layers, width, dropout)


def stacked(states: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return (L, K, N, D) of L times (K, N, D), as a copy that gradients may flow through.

    A prefill's tensors are inference tensors, which autograd refuses to save; what is made of them
    outside inference mode is not.
    """
    with torch.inference_mode(mode=False):
        return torch.stack(list(states))
