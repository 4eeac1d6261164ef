"""What a serving run file with adapters may not ask for."""

from collections.abc import Sequence

from encodeonce.harness.serving.adapters.costs import PEFT
from encodeonce.harness.serving.adapters.load import AdaptersLoad
from encodeonce.harness.serving.policy import lora_kind, merges
from encodeonce.models.kv.spec import KVSpec
from encodeonce.models.spec import WeightsSpec

Served = Sequence[tuple[str, str, WeightsSpec, KVSpec]]
"""Of each experiment: its name, its policy, its weights, its cache."""


def check_served(adapters: AdaptersLoad, experiments: Served) -> None:
    """Refuse what cannot be served under adapters.

    Raises:
        ValueError: names it.
    """
    for name, policy, weights, _ in experiments:
        if weights.is_none:
            continue
        if merges(policy) or adapters.allow_mixed:
            what = f"policy {policy!r} merges" if merges(policy) else "allow_mixed merges"
            raise ValueError(
                f"experiments: {name!r}: {what} adapters into weights, which under "
                f"{weights.title!r} are quantised and would be quantised again; use "
                "slora, punica or another policy that does not, and allow_mixed: false"
            )


def check_for_clock(experiments: Served, engine: str, costs: str | None) -> None:
    """Refuse what cannot be served under adapters by the clock.

    Args:
        experiments: all of the run file.
        engine: ``engine.kind``.
        costs: ``time.costs``.

    Raises:
        ValueError: names it.
    """
    if engine != "own":
        raise ValueError(f"adapters are served by engine.kind 'own'; got {engine!r}")
    if costs is None:
        raise ValueError(
            "time.costs: policies of several adapters decide by what actions cost; give the file "
            "that `encodeonce bench costs` wrote"
        )
    for name, policy, weights, kv in experiments:
        if lora_kind(policy) == PEFT and not (weights.is_none and kv.is_full):
            raise ValueError(
                f"experiments: {name!r}: by the clock, policy {policy!r} runs peft itself, which "
                "is done under plain weights and the full cache; got "
                f"{weights.title!r} and {kv.title!r}"
            )
