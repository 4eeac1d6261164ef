"""Plans the shared work: which media are needed, and which questions and variants share them."""

import hashlib
import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from itertools import product
from pathlib import Path

from encodeonce.datasets.media.media import MediaRef
from encodeonce.datasets.registry import load_benchmark
from encodeonce.datasets.sample import Benchmark, BenchmarkError, Sample
from encodeonce.harness.run.config import ConfigError, RunConfig
from encodeonce.harness.run.scoring import check_scorable
from encodeonce.harness.run.variant import Variant
from encodeonce.models.adapters.spec import AdapterSpec
from encodeonce.models.kv.spec import KVSpec
from encodeonce.models.spec import WeightsSpec

_SAMPLE = tuple(one.name for one in fields(Sample))


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedMedia:
    """A media file to encode, once, however many benchmarks and samples ask about it."""

    root: Path
    ref: MediaRef
    benchmark: str
    """The first benchmark that asks for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaGroup:
    """Samples of one benchmark that are about the same media."""

    benchmark: str
    root: Path
    media: tuple[MediaRef, ...]
    samples: tuple[Sample, ...]
    prompts: tuple[str, ...]
    """The benchmark's prompt of each sample."""
    together: tuple[str, ...]
    """Prompts of all questions on these media, including those already answered or beyond the
    limit, so that the contents of a batch are always the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Branch:
    """A media group under one weight variant and adapter."""

    group: MediaGroup
    """The group, with only those samples that lack an answer under at least one setting."""
    weights: WeightsSpec
    settings: tuple[KVSpec, ...]
    """The cache variants under which at least one of the samples lacks an answer."""
    missing: frozenset[tuple[str, str]]
    """(sample id, setting's title) of each answer still to be given."""
    adapter: AdapterSpec | None = None
    """The adapter; None for the base."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The work that a run consists of."""

    benchmarks: dict[str, Benchmark]
    groups: tuple[MediaGroup, ...]
    every_group: tuple[MediaGroup, ...]
    """Those beyond ``limit`` as well: where answers are decoded follows from all of them."""
    samples_sha256: str
    """Digest of all samples, even those beyond ``limit``: a resumed run must ask the same."""

    @property
    def num_samples(self) -> int:
        """Samples in all groups."""
        return sum(len(group.samples) for group in self.groups)

    def media(self) -> tuple[PlannedMedia, ...]:
        """Return every media file once, in the order of first use."""
        found: dict[tuple[Path, MediaRef], PlannedMedia] = {}
        for group in self.groups:
            for ref in group.media:
                planned = PlannedMedia(root=group.root, ref=ref, benchmark=group.benchmark)
                found.setdefault((group.root, ref), planned)
        return tuple(found.values())


def make_plan(config: RunConfig) -> Plan:
    """Load the benchmarks of a run and group their samples by media.

    Raises:
        ConfigError: two benchmarks have the same name in the report, or one has no samples.
        ValueError: a benchmark is unknown, or its options or files are wrong.
    """
    benchmarks: dict[str, Benchmark] = {}
    groups: list[MediaGroup] = []
    every_group: list[MediaGroup] = []
    digest = hashlib.sha256()
    for spec in config.benchmarks:
        if spec.title in benchmarks:
            raise ConfigError(
                f"benchmarks: two are named {spec.title!r}; give one of them a 'label'"
            )
        benchmark = load_benchmark(spec.name, spec.options, config.frames)
        try:
            samples = list(benchmark.samples())
        except BenchmarkError as error:
            raise BenchmarkError(f"benchmark {spec.title!r}: {error}") from error
        if not samples:
            raise ConfigError(f"benchmarks: {spec.title!r} has no samples")
        benchmarks[spec.title] = benchmark
        members = _group(spec.title, benchmark, samples)
        every_group.extend(members)
        if config.limit is not None:
            beyond = {(spec.title, sample.id) for sample in samples[config.limit :]}
            members = list(without_samples(members, beyond))
        groups.extend(members)
        for sample in samples:
            check_scorable(spec.scoring, sample)
            content = {name: getattr(sample, name) for name in _SAMPLE}
            content["prompt"] = benchmark.prompt(sample)
            # Not the signature's canonical JSON: a clip may last until infinity.
            text = json.dumps(content, sort_keys=True, default=asdict)
            digest.update(f"{spec.title} {text}\n".encode())
    return Plan(
        benchmarks=benchmarks,
        groups=tuple(groups),
        every_group=tuple(every_group),
        samples_sha256=digest.hexdigest(),
    )


def _group(title: str, benchmark: Benchmark, samples: Iterable[Sample]) -> list[MediaGroup]:
    by_media: dict[tuple[MediaRef, ...], list[Sample]] = {}
    for sample in samples:
        by_media.setdefault(sample.media, []).append(sample)
    groups = []
    for media, members in by_media.items():
        prompts = tuple(benchmark.prompt(sample) for sample in members)
        group = MediaGroup(
            benchmark=title,
            root=benchmark.media_root.absolute(),
            media=media,
            samples=tuple(members),
            prompts=prompts,
            together=prompts,
        )
        groups.append(group)
    return groups


def without_samples(
    groups: Sequence[MediaGroup], done: Collection[tuple[str, str]]
) -> tuple[MediaGroup, ...]:
    """Return the groups less the (benchmark, sample id) pairs that are ``done``."""
    left = []
    for group in groups:
        kept = [
            (sample, prompt)
            for sample, prompt in zip(group.samples, group.prompts, strict=True)
            if (group.benchmark, sample.id) not in done
        ]
        if kept:
            samples, prompts = zip(*kept, strict=True)
            left.append(replace(group, samples=samples, prompts=prompts))
    return tuple(left)


def branches_left(
    groups: Sequence[MediaGroup],
    weights: Sequence[WeightsSpec],
    settings: Sequence[KVSpec],
    answered: Collection[tuple[str, str, str]],
    adapters: Sequence[AdapterSpec | None] = (None,),
) -> tuple[Branch, ...]:
    """Return the branches left to answer, one weight variant after another.

    Args:
        groups: the samples.
        weights: weight variants.
        settings: cache variants.
        answered: (benchmark, sample id, variant) of each answer given so far.
        adapters: adapters; None for the base.
    """
    left = []
    for one, group, adapter in product(weights, groups, adapters):
        if adapter is not None and not adapter.answers(group.benchmark):
            continue
        missing = frozenset(
            (sample.id, kv.title)
            for kv in settings
            for sample in group.samples
            if (group.benchmark, sample.id, Variant.of(one, kv, adapter).name) not in answered
        )
        if missing:
            left.append(replace(_branch(group, one, settings, missing), adapter=adapter))
    return tuple(left)


def _branch(
    group: MediaGroup,
    weights: WeightsSpec,
    settings: Sequence[KVSpec],
    missing: frozenset[tuple[str, str]],
) -> Branch:
    samples, titles = ({pair[n] for pair in missing} for n in (0, 1))
    done = {(group.benchmark, one.id) for one in group.samples if one.id not in samples}
    (open_group,) = without_samples([group], done)
    return Branch(
        group=open_group,
        weights=weights,
        settings=tuple(kv for kv in settings if kv.title in titles),
        missing=missing,
    )


def first_samples(groups: Sequence[MediaGroup], count: int) -> tuple[MediaGroup, ...]:
    """Return the groups cut down to the first ``count`` samples of each benchmark."""
    seen: dict[str, int] = {}
    beyond: set[tuple[str, str]] = set()
    for group in groups:
        for sample in group.samples:
            seen[group.benchmark] = seen.get(group.benchmark, 0) + 1
            if seen[group.benchmark] > count:
                beyond.add((group.benchmark, sample.id))
    return without_samples(groups, beyond)
