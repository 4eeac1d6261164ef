"""Which neighbouring tokens of a prompt become one entry.

Shapes: N tokens of a prompt, S groups, f tokens of a group, n entries that are left.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import torch

from encodeonce.models.kv.trained.header import CompressorForm


@dataclass(frozen=True, slots=True, kw_only=True)
class Grouping:
    """The groups of a prompt, the same in every layer and head."""

    raw: torch.Tensor
    """(n_raw,) tokens that stay as they are."""
    groups: Mapping[str, torch.Tensor]
    """(S, f) tokens of each group, by the kind of net that merges them."""
    order: torch.Tensor
    """(n,): where each entry is found in raw tokens and merged groups, one after another."""
    indices: torch.Tensor
    """(n,) ascending: the token that each entry stands for, a group's last."""


def group_tokens(is_visual: torch.Tensor, form: CompressorForm) -> Grouping:
    """Return the groups of a prompt's tokens; synchronises.

    A segment of m tokens has m // f groups, and its last m mod f tokens stay as they are.

    Args:
        is_visual: (N,) bool.
        form: of the compressor.
    """
    raw: list[int] = list(range(min(form.num_sinks, len(is_visual))))
    starts: dict[str, list[int]] = {kind: [] for kind in form.kinds}
    for start, end, visual in _segments(is_visual.tolist(), len(raw), form.segments):
        kind = form.net_of(is_visual=visual)
        count = (end - start) // form.factor
        if kind is None or count < form.min_groups:
            raw += range(start, end)
            continue
        behind = start + count * form.factor
        starts[kind] += range(start, behind, form.factor)
        raw += range(behind, end)
    device = is_visual.device
    members = torch.arange(form.factor, device=device)
    groups = {
        kind: torch.tensor(mine, device=device)[:, None] + members
        for kind, mine in starts.items()
        if mine
    }
    raw_tokens = torch.tensor(raw, dtype=torch.long, device=device)
    stands_for = torch.cat([raw_tokens, *(one[:, -1] for one in groups.values())])
    indices, order = stands_for.sort()
    return Grouping(raw=raw_tokens, groups=groups, order=order, indices=indices)


def _segments(flags: Sequence[bool], first: int, how: str) -> Iterator[tuple[int, int, bool]]:
    """Yield the start and end of each segment, and whether it counts as visual."""
    total = len(flags)
    if how == "whole":
        yield first, total, False
    elif how == "visual_then_text":
        end = max((n + 1 for n, visual in enumerate(flags) if visual), default=0)
        yield first, max(first, end), True
        yield max(first, end), total, False
    else:
        start = first
        for visual, run in groupby(flags[first:]):
            end = start + sum(1 for _ in run)
            yield start, end, visual
            start = end
