"""What adapters cost beside a model, and in its weights: a section of the costs file.

Seconds that are added, with U adapters present, r rows and n tokens::

    decode  a + b U + c r     by kind of operator
    prompt  a + b n           a prompt is read under one adapter
"""

from collections import Counter
from collections.abc import Mapping, Sequence

from pydantic import Field

from encodeonce.harness.run.strict import Strict
from encodeonce.harness.serving.adapters.modes import Mode

FASTEST = "fastest"
"""Whichever of our kinds costs least at a step's rows and adapters."""
PEFT = "peft"


class AdapterCosts(Strict):
    """Of adapters of one rank, on all linear layers of the decoder."""

    rank: int = Field(ge=1)
    switch_s: float = Field(ge=0)
    """Another adapter, or none, in the weights, from a pristine copy."""
    decode: dict[str, tuple[float, float, float]]
    """By kind (`models/adapters/operators.py`); and peft's mixed batches."""
    prompt: tuple[float, float]

    def step_s(self, kind: str, num_adapters: int, num_rows: int) -> float:
        """Return what is added to a decode step."""
        if not num_rows:
            return 0.0
        kinds = [one for one in self.decode if one != PEFT] if kind == FASTEST else [kind]
        return min(
            a + b * num_adapters + c * num_rows for a, b, c in (self.decode[one] for one in kinds)
        )

    def decode_s(self, kind: str, mode: Mode, adapters: Sequence[int | None]) -> float:
        """Return what the adapters of a step's rows add under a mode.

        Mixed, a row under another adapter than the one in the weights takes two products.
        """
        counts = Counter(one for one in adapters if one is not None and one != mode.adapter)
        if mode.kind == "unmerged" or not counts:
            return self.step_s(kind, len(counts), counts.total())
        return self.step_s(kind, len(counts) + 1, 2 * counts.total())

    def prompt_s(self, mode: Mode, adapter: int | None, num_tokens: int) -> float:
        """Return what an adapter adds to reading a prompt."""
        a, b = self.prompt
        num_products = int(adapter is not None) + int(mode.kind == "mixed")
        return 0.0 if adapter == mode.adapter else num_products * (a + b * num_tokens)


def check_kinds(costs: AdapterCosts | None, rank: int | None, kinds: Mapping[str, str]) -> None:
    """Refuse costs that say nothing about what is served.

    Args:
        costs: of the costs file.
        rank: of the adapters; None where they are real ones.
        kinds: the kind of operator of each experiment, by name.

    Raises:
        ValueError: there are none, of another rank, or not of a kind.
    """
    again = "measure them with `encodeonce bench costs`"
    if costs is None:
        raise ValueError(f"time.costs: holds no costs of adapters; {again}")
    if rank is not None and rank != costs.rank:
        raise ValueError(
            f"time.costs: adapters of rank {costs.rank} were measured, and adapters.random.rank is "
            f"{rank}; {again}"
        )
    for name, kind in kinds.items():
        if kind not in (FASTEST, *costs.decode):
            hint = ' with peft installed (pip install "encodeonce[adapters]")'
            raise ValueError(
                f"time.costs: experiment {name!r} needs costs of {kind!r}, and there are those of "
                f"{', '.join(costs.decode)}; {again}{hint if kind == PEFT else ''}"
            )
