"""Tells the time that variants share from the time that each takes on its own.

A run does shared work once, and books it on the first answer that profits (`Record.seconds`). So
two variants' booked seconds are not comparable: one has the prefill, the other had it for nothing.
Here each variant is charged its own seconds and, in full, all shared work that it rests on: the
time of an answer as if its variant had been the only one.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from encodeonce.harness.run.record import LOADING, Record
from encodeonce.models.answer import sum_seconds

OWN_STAGES = ("compress", "generate", "compare", "score")
"""Stages that each cache variant runs on its own; all others serve every cache of the weights."""
ENCODING_STAGES = ("wait", "decode", "preprocess", "encode", "write")
"""Of the shared stages, those that serve every weight variant too."""

Seconds = dict[str, float]
"""By stage."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantTime:
    """The time of a variant's answers, as if it had been the run's only variant."""

    own: Seconds
    shared: Seconds
    """Work that others profit from too, or would."""
    num_answered: int
    is_sharing: bool
    """Whether other variants of the run did profit."""

    @property
    def per_answer(self) -> Seconds:
        """The seconds of an answer by stage, the shared ones first; empty without answers."""
        if not self.num_answered:
            return {}
        total = sum_seconds([self.shared, self.own])
        return {stage: value / self.num_answered for stage, value in total.items()}


def answering_seconds(records: Iterable[Record]) -> Seconds:
    """Return the seconds by stage that are booked on records, model loading left out."""
    total = sum_seconds(record.seconds for record in records)
    return {stage: value for stage, value in total.items() if stage not in LOADING}


def variant_times(records: Sequence[Record]) -> dict[str, VariantTime]:
    """Return the time of each variant of one run, by name.

    Args:
        records: of all variants, as any of them may bear what others share.
    """
    by_variant = _by_variant(records)
    own = own_stages(records)
    spent = {name: answering_seconds(some) for name, some in by_variant.items()}
    charged: dict[str, list[Seconds]] = {name: [] for name in by_variant}
    for group in _groups(records):
        for name in group:
            charged[name].append(dict(_charged(name, group, own)))
    times = {}
    for name, some in by_variant.items():
        shared = sum_seconds(charged[name])
        times[name] = VariantTime(
            own={stage: value for stage, value in spent[name].items() if stage in own[name]},
            shared=shared,
            num_answered=sum(record.error is None for record in some),
            is_sharing=any(
                _is_shared(stage, name, other, own)
                for other in by_variant
                if other != name
                for stage in shared
            ),
        )
    return times


def own_stages(records: Iterable[Record]) -> dict[str, tuple[str, ...]]:
    """Return the stages that each variant runs on its own, by name.

    None where the caches of its weights were booked together, as earlier versions did with
    likelihoods: a cache with answers and without a second of its own gives that away.
    """
    by_variant = _by_variant(records)
    joint = {
        _base(name)
        for name, some in by_variant.items()
        if any(record.error is None for record in some)
        and not set(OWN_STAGES) & set(answering_seconds(some))
    }
    return {name: () if _base(name) in joint else OWN_STAGES for name in by_variant}


def _by_variant(records: Iterable[Record]) -> dict[str, list[Record]]:
    found: dict[str, list[Record]] = {}
    for record in records:
        found.setdefault(record.variant, []).append(record)
    return found


def _groups(records: Sequence[Record]) -> Iterator[Mapping[str, Seconds]]:
    """Yield the seconds of each variant that answered questions on the same media."""
    found: dict[tuple[str, str], dict[str, list[Record]]] = {}
    for record in records:
        group = found.setdefault((record.benchmark, record.group), {})
        group.setdefault(record.variant, []).append(record)
    for group in found.values():
        yield {name: answering_seconds(some) for name, some in group.items()}


def _charged(
    name: str, group: Mapping[str, Seconds], own: Mapping[str, Sequence[str]]
) -> Iterator[tuple[str, float]]:
    """Yield the shared seconds that a variant's answers rest on: those booked on it, or others'.

    Several others bear the same stage if variants were added later, or failed together: their mean.
    """
    for stage in dict.fromkeys(stage for booked in group.values() for stage in booked):
        if stage in own[name]:
            continue
        if stage in group[name]:
            yield stage, group[name][stage]
            continue
        others = [
            booked[stage]
            for other, booked in group.items()
            if stage in booked and _is_shared(stage, name, other, own)
        ]
        if others:
            yield stage, sum(others) / len(others)


def _is_shared(stage: str, name: str, other: str, own: Mapping[str, Sequence[str]]) -> bool:
    """Return whether what is booked on ``other`` served ``name`` too."""
    if stage in own[name] or stage in own[other]:
        return False
    return stage in ENCODING_STAGES or _base(name) == _base(other)


def _base(name: str) -> str:
    """Return the part of a variant's name that says which weights and adapter it answers with."""
    return name.partition("/")[0]
