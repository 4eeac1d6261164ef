"""What is known of every sample under every variant: its answer, and what serving it takes."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from encodeonce.datasets.sample import Benchmark, Sample
from encodeonce.harness.results.facets import estimate
from encodeonce.harness.results.fidelity import summarize_fidelity
from encodeonce.harness.results.paired import paired_difference
from encodeonce.harness.run.plan import MediaGroup, Plan
from encodeonce.harness.run.record import Record
from encodeonce.harness.run.variant import Variant


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A sample, and where its media are."""

    group: MediaGroup
    sample: Sample
    prompt: str

    @property
    def key(self) -> tuple[str, str]:
        """Benchmark and id."""
        return (self.group.benchmark, self.sample.id)

    @property
    def name(self) -> str:
        """Benchmark and id, for readers."""
        return "/".join(self.key)

    @property
    def media(self) -> str:
        """Equal for samples about the same media."""
        refs = (f"{ref.path}@{ref.clip_s}" for ref in self.group.media)
        return "|".join((self.group.benchmark, *refs))


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """The samples that have an answer under every variant, in the order of the benchmarks."""

    asked: Sequence[Asked]
    records: Mapping[tuple[str, str, str], Record]
    """By benchmark, sample and variant."""
    benchmarks: Mapping[str, Benchmark]
    """Who score answers."""
    full_bytes: Mapping[tuple[str, str], int]
    """Of a prompt's uncompressed cache, by benchmark and sample, where a variant has measured
    them."""
    left_out: Mapping[str, str] = field(default_factory=dict)
    """Samples without an answer under some variant, and why."""

    def record(self, asked: Asked, variant: Variant) -> Record:
        """Return a sample's record under a variant."""
        return self.records[(*asked.key, variant.name)]

    def quality(self, variants: Sequence[Variant], baselines: Sequence[Variant]) -> dict[str, Any]:
        """Return how good an experiment's answers are, as plain JSON values.

        Args:
            variants: the experiment's, one for each adapter, or one.
            baselines: what their answers are compared with, sample by sample.
        """
        mine = [self.record(one, variant) for variant in variants for one in self.asked]
        base = [self.record(one, baseline) for baseline in baselines for one in self.asked]
        is_baseline = tuple(variants) == tuple(baselines)
        pairs = [
            (first.score, second.score, first.group)
            for first, second in zip(base, mine, strict=True)
            if first.score is not None and second.score is not None
        ]
        difference = None
        if not is_baseline and pairs:
            first, second, groups = zip(*pairs, strict=True)
            difference = paired_difference(first, second, groups)
        by_sample = {(record.benchmark, record.sample): record for record in base}
        return {
            **estimate(mine),
            "difference": asdict(difference) if difference else None,
            "fidelity": None if is_baseline else summarize_fidelity(mine, by_sample),
            "kept": _kept(mine),
        }


def answered(plan: Plan, records: Sequence[Record], variants: Sequence[Variant]) -> Answered:
    """Return what is known of a plan's samples.

    Args:
        plan: the samples.
        records: the answers so far, and errors.
        variants: under each of which a sample has to be answered.

    Raises:
        ValueError: not one sample is.
    """
    by_key = {record.key: record for record in records}
    found, left_out = [], {}
    for group in plan.groups:
        for sample, prompt in zip(group.samples, group.prompts, strict=True):
            asked = Asked(group=group, sample=sample, prompt=prompt)
            mine = [by_key.get((*asked.key, variant.name)) for variant in variants]
            if why := _lacking(mine):
                left_out[asked.name] = why
            else:
                found.append(asked)
    if not found:
        name, why = next(iter(left_out.items()))
        raise ValueError(f"no sample is answered under every variant; {name}: {why}")
    full_bytes = {
        (benchmark, sample): record.kv.full_bytes
        for (benchmark, sample, _), record in by_key.items()
        if record.kv is not None
    }
    return Answered(
        asked=found,
        records=by_key,
        benchmarks=plan.benchmarks,
        full_bytes=full_bytes,
        left_out=left_out,
    )


def unanswered(plan: Plan) -> Answered:
    """Return a plan's samples, none of which has an answer yet: a server elsewhere gives them."""
    asked = [
        Asked(group=group, sample=sample, prompt=prompt)
        for group in plan.groups
        for sample, prompt in zip(group.samples, group.prompts, strict=True)
    ]
    return Answered(asked=asked, records={}, benchmarks=plan.benchmarks, full_bytes={})


def with_served(
    known: Answered, variant: Variant, texts: Iterable[tuple[Asked, str | None]]
) -> Answered:
    """Return samples with the answers that a server gave; those without one are left out.

    Args:
        known: the samples.
        variant: under which the answers are recorded.
        texts: the answers; the first of each sample counts.
    """
    records: dict[tuple[str, str, str], Record] = {}
    for asked, text in texts:
        key = (*asked.key, variant.name)
        if text is None or key in records:
            continue
        sample, benchmark = asked.sample, asked.group.benchmark
        score = known.benchmarks[benchmark].score(sample, text)
        records[key] = Record(
            run="",
            benchmark=benchmark,
            sample=sample.id,
            group=sample.group,
            question=sample.question,
            target=sample.target,
            variant=variant.name,
            text=text,
            extracted=score.extracted,
            score=score.value,
        )
    there = [one for one in known.asked if (*one.key, variant.name) in records]
    missing = {one.name: "was not answered" for one in known.asked if one not in there}
    return replace(known, asked=there, records=records, left_out=missing)


def _lacking(records: Sequence[Record | None]) -> str:
    """Return why a sample is left out; empty if it is not."""
    for record in records:
        if record is None:
            return "has no answer"
        if record.error is not None:
            return f"{record.error.type}: {record.error.message}"
    return ""


def _kept(records: Sequence[Record]) -> float:
    """Return the fraction of the prompts' bytes that is kept."""
    uses = [record.kv for record in records if record.kv is not None]
    full = sum(use.full_bytes for use in uses)
    return sum(use.kept_bytes for use in uses) / full if full else 1.0
