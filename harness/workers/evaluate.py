"""The workers: plain classes that walk one branch of the tree at a time. No Ray in here.

Each is made in its own process from a run's configuration, and answers with plain JSON values.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from encodeonce.datasets.media.media import MediaError, MediaRef
from encodeonce.datasets.sample import Sample
from encodeonce.harness.run.config import RunConfig
from encodeonce.harness.run.plan import Branch, MediaGroup
from encodeonce.harness.run.record import SampleError
from encodeonce.harness.run.scoring import continuations
from encodeonce.harness.workers.decoder_slot import DecoderShelf
from encodeonce.harness.workers.recorder import Result, Scribe, scoring_of
from encodeonce.harness.workers.session import Workplace
from encodeonce.models.family import Decoder
from encodeonce.models.kv.spec import FULL, KVSpec
from encodeonce.models.language.prefix import Prefix
from encodeonce.models.spec import WeightsSpec
from encodeonce.models.timing import Stopwatch, sum_seconds
from encodeonce.models.vision.visual import Visual

logger = logging.getLogger(__name__)


class EvaluateWorker:
    """Answers the questions of a media group from stored features. Does not load the tower.

    With ``cache.on_miss: encode`` the tower is loaded at the first miss.
    """

    def __init__(
        self, config: RunConfig, fingerprint: str, only: WeightsSpec | None = None
    ) -> None:
        """Open the store; load a decoder if it is known which.

        Args:
            config: the run.
            fingerprint: of the run's folder.
            only: the weight variant, if there is just one: what keeps it from loading keeps the
                worker from starting. Otherwise each is loaded when its turn comes.
        """
        self._workplace = Workplace(config)
        self._stopwatch = Stopwatch()
        self._source = self._workplace.feature_source(self._stopwatch)
        self._decoders = DecoderShelf(self._workplace.decoder)
        self._sweeper = Sweeper(config)
        self._scribe = Scribe(config, fingerprint, self._stopwatch)
        if only is not None:
            self._decoders.put(only)

    def do(self, branch: Branch) -> list[dict[str, Any]]:
        """Answer and score every sample of a group; a failure becomes a typed error."""
        self._stopwatch.take()
        self._source.take_use()
        try:
            visuals = [self._fetch(branch.group, ref) for ref in branch.group.media]
            decoder = self._decoders.get(branch.weights)
        # What keeps the features away (a damaged file, a miss) fails these samples alone.
        except Exception as error:
            logger.info("group %s failed", branch.group.media, exc_info=True)
            return self._scribe.all_failed(branch, error, self._source.take_use())
        swept = self._sweeper.sweep(decoder, visuals, branch)
        unbooked = {title: one.seconds for title, one in swept.items() if isinstance(one, Swept)}

        def answer(kv: KVSpec, sample: Sample, prompt: str) -> Result | SampleError:
            self._book(unbooked.pop(kv.title, {}))
            decoder.check(prompt)
            found = swept[kv.title]
            return found.results[sample.id] if isinstance(found, Swept) else found

        loaded = self._decoders.take_loaded()
        return self._scribe.write(branch, answer, self._source.take_use(), loaded)

    def expect(self, branch: Branch) -> None:
        """Begin to read the features of the next group."""
        group = branch.group
        for ref in group.media:
            try:
                request = self._workplace.request(group.root, ref, group.benchmark)
            except MediaError:  # said when it is that group's turn
                return
            self._source.read_ahead(request)

    def close(self) -> None:
        """Stop the threads."""
        self._source.close()

    def _book(self, seconds: Mapping[str, float]) -> None:
        for stage, value in seconds.items():
            self._stopwatch.add(stage, value)

    def _fetch(self, group: MediaGroup, ref: MediaRef) -> Visual:
        with self._stopwatch.stage("look up"):
            request = self._workplace.request(group.root, ref, group.benchmark)
        return self._source.visual(request)


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
        prefix = decoder.prefill(visuals, branch.settings)
        is_generated = self._scoring[group.benchmark] == "generate"
        put = self._generated if is_generated else self._measured
        swept = put(decoder, prefix, branch, asked)
        first = branch.settings[0].title
        seconds = sum_seconds([prefix.seconds, swept[first].seconds])
        return {**swept, first: replace(swept[first], seconds=seconds)}

    def _generated(
        self,
        decoder: Decoder,
        prefix: Prefix,
        branch: Branch,
        asked: Sequence[tuple[Sample, str]],
    ) -> dict[str, Swept]:
        prompts = dict.fromkeys(branch.group.together)
        together = [prompt for prompt in prompts if can_ask(decoder, prompt)]
        # The full cache's answer, given already, is what the others' fidelity is measured by.
        is_beside = self._fidelity and not any(kv.is_full for kv in branch.settings)
        settings = (*branch.settings, FULL) if is_beside else branch.settings
        found = decoder.answer(
            prefix, together, self._generation, settings, fidelity=self._fidelity
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
        prefix: Prefix,
        branch: Branch,
        asked: Sequence[tuple[Sample, str]],
    ) -> dict[str, Swept]:
        scoring = self._scoring[branch.group.benchmark]
        texts = [tuple(continuations(scoring, sample).values()) for sample, _ in asked]
        prompts = [prompt for _, prompt in asked]
        found = decoder.score(prefix, prompts, texts, branch.settings)
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
