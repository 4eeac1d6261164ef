"""Asks a decoder about the media groups of a block, as the run file says.

All of a block's answers are decoded together, under all open settings. If that fails, the block is
halved until the group is found that cannot be answered, and that one's settings are tried one by
one. Nobody's answer changes by that, as every group keeps its place in the batch.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from encodeonce.datasets.sample import Sample
from encodeonce.harness.run.config import RunConfig
from encodeonce.harness.run.passing import is_own_fault
from encodeonce.harness.run.plan import Branch
from encodeonce.harness.run.record import SampleError
from encodeonce.harness.run.scoring import continuations
from encodeonce.harness.workers.askable import can_ask, reason_against
from encodeonce.harness.workers.decoder_slot import adapter_number
from encodeonce.harness.workers.prefixes import Prefixes
from encodeonce.harness.workers.recorder import Result, scoring_of
from encodeonce.models.answer import Generation, sum_seconds
from encodeonce.models.family import AnswerEngine, Decoder
from encodeonce.models.kv.spec import FULL, KVSpec
from encodeonce.models.language.prefix import Prefix
from encodeonce.models.vision.visual import Visual

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingResults:
    """The results of a media group under one setting."""

    results: Mapping[str, Result | SampleError]
    """By sample id; an error for a question that does not fit behind its media."""
    seconds: Mapping[str, float]
    """By stage, for all questions that were asked, including those answered before."""


Found = Mapping[str, SettingResults | SampleError]
"""Results by the setting's title."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedBranch:
    """A branch whose media can be looked at."""

    branch: Branch
    place: int
    """The first of the places that its rows take in the batch."""
    visuals: Callable[[], Sequence[Visual]]
    """Reads the media's features; what it raises fails this branch alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Read:
    """A branch whose questions an engine has."""

    asked: Sequence[tuple[Sample, str]]
    together: Sequence[str]
    prefix_s: Mapping[str, float]
    """Seconds of the prefix by stage. Not the prefix: its memory is the engine's to free."""
    engine: AnswerEngine
    settings: tuple[KVSpec, ...]
    is_beside: bool
    """Whether the full cache is answered from for comparison only."""


class BlockEvaluator:
    """Asks a decoder the questions of a block."""

    def __init__(self, config: RunConfig) -> None:
        self._generation = config.generation
        self._fidelity = config.fidelity
        self._scoring = scoring_of(config)

    def evaluate(self, decoder: Decoder, block: Sequence[AskedBranch]) -> list[Found]:
        """Return the results of each branch.

        Raises:
            StoreNotWritable: features had to be encoded, and cannot be stored.
            Exception: one that may pass; the block is worth another attempt.
        """
        try:
            return self._together(decoder, block)
        except Exception as error:
            if not is_own_fault(error):
                raise
            logger.info("%d groups failed together", len(block), exc_info=True)
            reason = SampleError.of(error)
        # Outside the handler: the memory of the failed attempt is free by now.
        if len(block) > 1:
            half = len(block) // 2
            parts = (block[:half], block[half:])
            return [found for part in parts for found in self.evaluate(decoder, part)]
        settings = block[0].branch.settings
        if len(settings) == 1:
            return [{settings[0].title: reason}]
        # A setting that is unusable here, or one too many for the memory, must not fail the others.
        alone = [
            replace(block[0], branch=replace(block[0].branch, settings=(kv,))) for kv in settings
        ]
        each = [self.evaluate(decoder, [one])[0] for one in alone]
        return [{title: result for found in each for title, result in found.items()}]

    def _together(self, decoder: Decoder, block: Sequence[AskedBranch]) -> list[Found]:
        found: dict[int, Found] = {}
        refused: dict[int, Mapping[str, SampleError]] = {}
        read: dict[int, _Read] = {}
        engines: dict[tuple[str, ...], AnswerEngine] = {}
        prefixes = Prefixes(self._generation.max_cache_gib)
        for number, one in enumerate(block):
            try:
                visuals = one.visuals()
            # Missing features (a damaged file, a miss) fail these samples alone.
            except Exception as error:
                if not is_own_fault(error):
                    raise
                logger.info("group %s failed", one.branch.group.media, exc_info=True)
                reason = SampleError.of(error)
                found[number] = {kv.title: reason for kv in one.branch.settings}
                continue
            asked = _askable(decoder, one.branch)
            if not asked:
                found[number] = _nothing(one.branch)
                continue
            adapter = adapter_number(decoder, one.branch.adapter)
            prefix = prefixes.take(decoder, one.branch, visuals, adapter)
            del visuals
            refused[number] = self._refused(decoder, prefix, one.branch, asked)
            asked = [pair for pair in asked if pair[0].id not in refused[number]]
            if not asked:
                found[number] = _with_prefix(_nothing(one.branch), prefix.seconds)
            elif self._scoring[one.branch.group.benchmark] == "generate":
                read[number] = self._ask(decoder, engines, one, number, prefix, asked)
            else:
                swept = self._measured(decoder, prefix, one.branch, asked)
                found[number] = _with_prefix(swept, prefix.seconds)
        answers = {engine: engine.finish() for engine in engines.values()}
        for number, mine in read.items():
            found[number] = _generated(mine, answers[mine.engine][number])
        return [_with_refused(found[n], refused.get(n, {})) for n in range(len(block))]

    def _refused(
        self,
        decoder: Decoder,
        prefix: Prefix,
        branch: Branch,
        asked: Sequence[tuple[Sample, str]],
    ) -> dict[str, SampleError]:
        """Return the samples whose questions do not fit behind their media, with the reason."""
        reasons = {
            sample.id: reason_against(decoder, prefix, prompt, self._answers(branch, sample))
            for sample, prompt in asked
        }
        return {name: SampleError.of(error) for name, error in reasons.items() if error}

    def _answers(self, branch: Branch, sample: Sample) -> int | Sequence[str]:
        """Return how long the answer may be, or the texts that are compared."""
        scoring = self._scoring[branch.group.benchmark]
        if scoring == "generate":
            return self._generation.max_new_tokens
        if scoring == "head":
            return 1
        return tuple(continuations(scoring, sample).values())

    def _ask(
        self,
        decoder: Decoder,
        engines: dict[tuple[str, ...], AnswerEngine],
        one: AskedBranch,
        number: int,
        prefix: Prefix,
        asked: Sequence[tuple[Sample, str]],
    ) -> _Read:
        """Give the engine of a branch's settings its questions."""
        settings = one.branch.settings
        # The others' fidelity is measured against the full cache's answer, which exists already.
        is_beside = self._fidelity and not any(kv.is_full for kv in settings)
        if is_beside:
            settings = (*settings, FULL)
        titles = tuple(kv.title for kv in settings)
        if titles not in engines:
            engines[titles] = decoder.engine(self._generation, settings, fidelity=self._fidelity)
        longest = self._generation.max_new_tokens
        together = [
            prompt
            for prompt in dict.fromkeys(one.branch.group.together)
            if can_ask(decoder, prompt) and not reason_against(decoder, prefix, prompt, longest)
        ]
        engines[titles].ask(number, prefix, together, one.place)
        return _Read(
            asked=asked,
            together=together,
            prefix_s=prefix.seconds,
            engine=engines[titles],
            settings=settings,
            is_beside=is_beside,
        )

    def _measured(
        self,
        decoder: Decoder,
        prefix: Prefix,
        branch: Branch,
        asked: Sequence[tuple[Sample, str]],
    ) -> dict[str, SettingResults]:
        scoring = self._scoring[branch.group.benchmark]
        prompts, settings = [prompt for _, prompt in asked], branch.settings
        if scoring == "head":
            found = decoder.classify(prefix, prompts, settings)
        else:
            texts = [tuple(continuations(scoring, sample).values()) for sample, _ in asked]
            found = decoder.score(prefix, prompts, texts, settings)
        return {
            kv.title: _setting_results(asked, results, results)
            for kv, results in zip(settings, found, strict=True)
        }


def _generated(read: _Read, answers: Sequence[Sequence[Generation]]) -> dict[str, SettingResults]:
    """Return the results of a branch from its answers by setting and question."""
    swept = {}
    for kv, results in zip(read.settings, answers, strict=True):
        by_prompt = dict(zip(read.together, results, strict=True))
        mine = [by_prompt[prompt] for _, prompt in read.asked]
        swept[kv.title] = _setting_results(read.asked, mine, results)
    found = _with_comparison(swept) if read.is_beside else swept
    return _with_prefix(found, read.prefix_s)


def _nothing(branch: Branch) -> dict[str, SettingResults]:
    """Return the results of a branch of which no question can be asked."""
    return {kv.title: SettingResults(results={}, seconds={}) for kv in branch.settings}


def _with_refused(found: Found, refused: Mapping[str, SampleError]) -> Found:
    """Add the samples that were refused to the results of every setting."""
    return {
        title: replace(one, results={**one.results, **refused})
        if isinstance(one, SettingResults)
        else one
        for title, one in found.items()
    }


def _with_prefix(
    swept: dict[str, SettingResults], seconds: Mapping[str, float]
) -> dict[str, SettingResults]:
    """Book the prefix's seconds on the first setting."""
    first = next(iter(swept))
    total = sum_seconds([seconds, swept[first].seconds])
    return {**swept, first: replace(swept[first], seconds=total)}


def _with_comparison(swept: Mapping[str, SettingResults]) -> dict[str, SettingResults]:
    """Book the full cache's answer, which the others are only compared with, on all of these."""
    others = {title: one for title, one in swept.items() if title != FULL.title}
    shared = dict(swept[FULL.title].seconds)
    each = {"compare": shared.pop("generate", 0.0) / len(others)}
    found = {
        title: replace(one, seconds=sum_seconds([one.seconds, each]))
        for title, one in others.items()
    }
    first = next(iter(found))
    # The prefill serves all of them, and is booked as any other: on the first.
    return {
        **found,
        first: replace(found[first], seconds=sum_seconds([found[first].seconds, shared])),
    }


def _setting_results(
    asked: Sequence[tuple[Sample, str]], results: Sequence[Result], all_results: Sequence[Result]
) -> SettingResults:
    return SettingResults(
        results={sample.id: one for (sample, _), one in zip(asked, results, strict=True)},
        seconds=sum_seconds(one.seconds for one in all_results),
    )


def _askable(decoder: Decoder, branch: Branch) -> list[tuple[Sample, str]]:
    """Return the samples whose questions can be asked, with their prompts."""
    pairs = zip(branch.group.samples, branch.group.prompts, strict=True)
    return [(sample, prompt) for sample, prompt in pairs if can_ask(decoder, prompt)]
