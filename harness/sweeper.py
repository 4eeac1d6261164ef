"""Asks a decoder the questions on a media group, under all settings that lack an answer at once."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from encodeonce.datasets.sample import Sample
from encodeonce.harness.config import RunConfig
from encodeonce.harness.plan import Branch
from encodeonce.harness.record import SampleError
from encodeonce.harness.scoring import continuations
from encodeonce.harness.scribe import Result, scoring_of
from encodeonce.models.family import Decoder, Visual
from encodeonce.models.kv.spec import FULL
from encodeonce.models.timing import sum_seconds

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Swept:
    """What came of a media group under one setting."""

    results: Mapping[str, Result]
    """By sample id."""
    seconds: Mapping[str, float]
    """By stage, for all questions that were put, also those that are answered already."""


class Sweeper:
    """Puts questions as the run file says."""

    def __init__(self, config: RunConfig) -> None:
        self._generation = config.generation
        self._fidelity = config.fidelity
        self._scoring = scoring_of(config)

    def sweep(
        self, decoder: Decoder, visuals: Sequence[Visual], branch: Branch
    ) -> dict[str, Swept | SampleError]:
        """Return what came of each of the branch's settings, by title."""
        try:
            return dict(self._at_once(decoder, visuals, branch))
        except Exception as error:
            logger.info("settings %s failed", branch.settings, exc_info=True)
            reason = SampleError.of(error)
        # Outside the handler: what the failed attempt held in memory is free by now.
        if len(branch.settings) == 1:
            return {branch.settings[0].title: reason}
        # One that cannot be used here, or that was one too many for the memory, must not take the
        # others with it.
        found: dict[str, Swept | SampleError] = {}
        for kv in branch.settings:
            found |= self.sweep(decoder, visuals, replace(branch, settings=(kv,)))
        return found

    def _at_once(
        self, decoder: Decoder, visuals: Sequence[Visual], branch: Branch
    ) -> dict[str, Swept]:
        group = branch.group
        asked = [
            (sample, prompt)
            for sample, prompt in zip(group.samples, group.prompts, strict=True)
            if can_ask(decoder, prompt)
        ]
        if not asked:
            return {kv.title: Swept(results={}, seconds={}) for kv in branch.settings}
        if self._scoring[group.benchmark] == "generate":
            return self._generated(decoder, visuals, branch, asked)
        return self._measured(decoder, visuals, branch, asked)

    def _generated(
        self,
        decoder: Decoder,
        visuals: Sequence[Visual],
        branch: Branch,
        asked: Sequence[tuple[Sample, str]],
    ) -> dict[str, Swept]:
        prompts = dict.fromkeys(branch.group.together)
        together = [prompt for prompt in prompts if can_ask(decoder, prompt)]
        # The full cache's answer, given already, is what the others' fidelity is measured by.
        is_beside = self._fidelity and not any(kv.is_full for kv in branch.settings)
        settings = (*branch.settings, FULL) if is_beside else branch.settings
        found = decoder.sweep(
            visuals, together, self._generation, settings, fidelity=self._fidelity
        )
        swept = {}
        for kv, results in zip(settings, found, strict=True):
            by_prompt = dict(zip(together, results, strict=True))
            swept[kv.title] = _swept(asked, [by_prompt[prompt] for _, prompt in asked], results)
        if is_beside:
            beside, first = swept.pop(FULL.title), branch.settings[0].title
            seconds = sum_seconds([swept[first].seconds, beside.seconds])
            swept[first] = replace(swept[first], seconds=seconds)
        return swept

    def _measured(
        self,
        decoder: Decoder,
        visuals: Sequence[Visual],
        branch: Branch,
        asked: Sequence[tuple[Sample, str]],
    ) -> dict[str, Swept]:
        scoring = self._scoring[branch.group.benchmark]
        texts = [tuple(continuations(scoring, sample).values()) for sample, _ in asked]
        prompts = [prompt for _, prompt in asked]
        found = decoder.sweep_likelihoods(visuals, prompts, texts, branch.settings)
        return {
            kv.title: _swept(asked, results, results)
            for kv, results in zip(branch.settings, found, strict=True)
        }


def _swept(
    asked: Sequence[tuple[Sample, str]], results: Sequence[Result], all_results: Sequence[Result]
) -> Swept:
    return Swept(
        results={sample.id: one for (sample, _), one in zip(asked, results, strict=True)},
        seconds=sum_seconds(one.seconds for one in all_results),
    )


def can_ask(decoder: Decoder, prompt: str) -> bool:
    """Return whether a question can be put to a model."""
    try:
        decoder.check(prompt)
    except ValueError:  # said on the sample's own record
        return False
    return True
