"""What a serving run file with adapters may not ask for."""

from collections.abc import Sequence

from encodeonce.harness.serving.adapters.load import AdaptersLoad
from encodeonce.harness.serving.policy import merges
from encodeonce.models.spec import WeightsSpec

Served = Sequence[tuple[str, str, WeightsSpec]]
"""Of each experiment: its name, its policy, its weights."""


def check_served(adapters: AdaptersLoad, experiments: Served) -> None:
    """Refuse what cannot be served under adapters.

    Raises:
        ValueError: names it.
    """
    for name, policy, weights in experiments:
        if weights.is_none:
            continue
        if merges(policy) or adapters.allow_mixed:
            what = f"policy {policy!r} merges" if merges(policy) else "allow_mixed merges"
            raise ValueError(
                f"experiments: {name!r}: {what} adapters into weights, which under "
                f"{weights.title!r} are quantised and would be quantised again; use "
                "slora, punica or another policy that does not, and allow_mixed: false"
            )


def check_for_clock(
    adapters: AdaptersLoad, experiments: Served, engine: str, costs: str | None
) -> None:
    """Refuse what cannot be served under adapters by the clock.

    Args:
        adapters: the section of the run file.
        experiments: all of it.
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
    if adapters.allow_mixed:
        raise ValueError("adapters.allow_mixed: rows are mixed in virtual time only")
    if found := [name for name, policy, _ in experiments if policy == "peft_mixed"]:
        raise ValueError(
            f"experiments: {found[0]!r}: peft's loop is computed in virtual time only; "
            "`encodeonce bench adapters` runs peft itself"
        )
