"""Answers from stored features: the worker of ``encodeonce evaluate``, a plain class without Ray.

It takes one branch at a time: a media group under one weight variant. All cache settings of a
branch are answered together, as they share a prefill, and one by one only if that fails.
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
from encodeonce.harness.workers.media_lookup import MediaRequest
from encodeonce.harness.workers.recorder import Recorder, Result, scoring_of
from encodeonce.harness.workers.session import Session
from encodeonce.models.family import Decoder
from encodeonce.models.kv.spec import FULL, KVSpec
from encodeonce.models.language.prefix import Prefix
from encodeonce.models.spec import WeightsSpec
from encodeonce.models.timing import sum_seconds
from encodeonce.models.vision.visual import Visual

logger = logging.getLogger(__name__)


class EvaluateWorker:
    """Answers the questions of a media group from stored features. Does not load the tower.

    With ``cache.on_miss: encode`` the tower is loaded at the first miss.
    """

    def __init__(
        self, config: RunConfig, fingerprint: str, only: WeightsSpec | None = None
    ) -> None:
        """Open the store; load the decoder already if only one can be needed.

        Args:
            config: the run.
            fingerprint: of the run's folder.
            only: the weight variant, if there is just one: if it cannot be loaded, the worker
                does not start. Otherwise each is loaded when its turn comes.
        """
        self._session = Session(config)
        self._stopwatch = self._session.stopwatch
        self._features = self._session.features
        self._evaluator = BranchEvaluator(config)
        self._recorder = Recorder(config, fingerprint, self._stopwatch)
        if only is not None:
            self._session.decoder_slot.put(only)

    def do(self, branch: Branch) -> list[dict[str, Any]]:
        """Answer and score every sample of a group; a failure becomes a typed error."""
        self._stopwatch.take()
        self._features.take_use()
        try:
            requests = [self._request(branch.group, ref) for ref in branch.group.media]
            visuals = [self._session.visual(request) for request in requests]
            decoder = self._session.decoder_slot.get(branch.weights)
        # Missing features (a damaged file, a miss) fail these samples alone.
        except Exception as error:
            logger.info("group %s failed", branch.group.media, exc_info=True)
            media_sha256 = self._session.media_sha256(branch.group.root, branch.group.media)
            return self._recorder.all_failed(branch, error, media_sha256, self._features.take_use())
        found = self._evaluator.evaluate(decoder, visuals, branch)
        unbooked = {
            title: one.seconds for title, one in found.items() if isinstance(one, SettingResults)
        }

        def answer(kv: KVSpec, sample: Sample, prompt: str) -> Result | SampleError:
            self._stopwatch.book(unbooked.pop(kv.title, {}))
            decoder.check(prompt)
            one = found[kv.title]
            return one.results[sample.id] if isinstance(one, SettingResults) else one

        loaded = self._session.decoder_slot.take_loaded()
        media_sha256 = tuple(request.media.sha256 for request in requests)
        return self._recorder.record(
            branch, answer, media_sha256, self._features.take_use(), loaded
        )

    def expect(self, branch: Branch) -> None:
        """Start reading the features of the next group."""
        group = branch.group
        for ref in group.media:
            try:
                request = self._session.media.request(group.root, ref, group.benchmark)
            except MediaError:  # reported when it is that group's turn
                return
            self._features.read_ahead(request)

    def close(self) -> None:
        """Stop the threads."""
        self._session.close()

    def _request(self, group: MediaGroup, ref: MediaRef) -> MediaRequest:
        return self._session.look_up(group.root, ref, group.benchmark)


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingResults:
    """The results of a media group under one setting."""

    results: Mapping[str, Result]
    """By sample id."""
    seconds: Mapping[str, float]
    """By stage, for all questions that were asked, including those answered before."""


class BranchEvaluator:
    """Asks a decoder a branch's questions, as the run file says."""

    def __init__(self, config: RunConfig) -> None:
        self._generation = config.generation
        self._fidelity = config.fidelity
        self._scoring = scoring_of(config)

    def evaluate(
        self, decoder: Decoder, visuals: Sequence[Visual], branch: Branch
    ) -> dict[str, SettingResults | SampleError]:
        """Return the results of each of the branch's settings, by title."""
        try:
            return dict(self._at_once(decoder, visuals, branch))
        except Exception as error:
            logger.info("settings %s failed", branch.settings, exc_info=True)
            reason = SampleError.of(error)
        # Outside the handler: the memory of the failed attempt is free by now.
        if len(branch.settings) == 1:
            return {branch.settings[0].title: reason}
        # A setting that is unusable here, or one too many for the memory, must not fail the others.
        found: dict[str, SettingResults | SampleError] = {}
        for kv in branch.settings:
            found |= self.evaluate(decoder, visuals, replace(branch, settings=(kv,)))
        return found

    def _at_once(
        self, decoder: Decoder, visuals: Sequence[Visual], branch: Branch
    ) -> dict[str, SettingResults]:
        group = branch.group
        asked = [
            (sample, prompt)
            for sample, prompt in zip(group.samples, group.prompts, strict=True)
            if can_ask(decoder, prompt)
        ]
        if not asked:
            return {kv.title: SettingResults(results={}, seconds={}) for kv in branch.settings}
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
    ) -> dict[str, SettingResults]:
        prompts = dict.fromkeys(branch.group.together)
        together = [prompt for prompt in prompts if can_ask(decoder, prompt)]
        # The others' fidelity is measured against the full cache's answer, which exists already.
        is_beside = self._fidelity and not any(kv.is_full for kv in branch.settings)
        settings = (*branch.settings, FULL) if is_beside else branch.settings
        found = decoder.answer(
            prefix, together, self._generation, settings, fidelity=self._fidelity
        )
        swept = {}
        for kv, results in zip(settings, found, strict=True):
            by_prompt = dict(zip(together, results, strict=True))
            swept[kv.title] = _setting_results(
                asked, [by_prompt[prompt] for _, prompt in asked], results
            )
        return _with_comparison(swept) if is_beside else swept

    def _measured(
        self,
        decoder: Decoder,
        prefix: Prefix,
        branch: Branch,
        asked: Sequence[tuple[Sample, str]],
    ) -> dict[str, SettingResults]:
        scoring = self._scoring[branch.group.benchmark]
        texts = [tuple(continuations(scoring, sample).values()) for sample, _ in asked]
        prompts = [prompt for _, prompt in asked]
        found = decoder.score(prefix, prompts, texts, branch.settings)
        return {
            kv.title: _setting_results(asked, results, results)
            for kv, results in zip(branch.settings, found, strict=True)
        }


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


def can_ask(decoder: Decoder, prompt: str) -> bool:
    """Return whether a model can be asked a question."""
    try:
        decoder.check(prompt)
    except ValueError:  # reported in the sample's own record
        return False
    return True
