"""What is in the weights while an action is carried out.

VaLoRA (Mi et al., EuroSys 2025, arXiv 2411.00915, section 4.4) switches between these.
"""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Mode:
    """How an action's requests are computed.

    ``unmerged``: the base's weights, and every row's adapter beside them. ``merged``: one adapter
    in the weights, and only requests under it. ``mixed``: one adapter j in the weights, and a row
    under another one k gets B_k A_k x - B_j A_j x beside them.
    """

    kind: Literal["unmerged", "merged", "mixed"]
    adapter: int | None = None
    """In the weights; None while unmerged."""


UNMERGED = Mode("unmerged")


def merged(adapter: int) -> Mode:
    """Return the mode with one adapter in the weights, for requests under it alone."""
    return Mode("merged", adapter)


def mixed(adapter: int) -> Mode:
    """Return the mode with one adapter in the weights, for requests under any."""
    return Mode("mixed", adapter)


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What policies know of adapters besides the requests."""

    switch_s: float = 0.0
    """Seconds to have another adapter, or none, in the weights."""
    patience_s: float = float("inf")
    """How long a request may wait before it starves."""
    allow_mixed: bool = False
