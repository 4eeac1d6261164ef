"""Answers from stored features: the worker of ``encodeonce evaluate``, a plain class without Ray.

It takes one block at a time: media groups whose answers are decoded together.
"""

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from encodeonce.datasets.media.media import MediaError, MediaRef
from encodeonce.datasets.sample import Sample
from encodeonce.harness.run.blocks import Block, Member
from encodeonce.harness.run.config import RunConfig
from encodeonce.harness.run.plan import Branch, MediaGroup
from encodeonce.harness.run.record import CacheUse, SampleError
from encodeonce.harness.workers.block import (
    AskedBranch,
    BlockEvaluator,
    Found,
    SettingResults,
)
from encodeonce.harness.workers.media_lookup import MediaRequest
from encodeonce.harness.workers.recorder import NO_USE, Recorder, Result
from encodeonce.harness.workers.session import Session
from encodeonce.models.answer import LoadedWeights, sum_seconds
from encodeonce.models.decoder import PrefixDecoder
from encodeonce.models.family import Decoder
from encodeonce.models.kv.spec import KVSpec
from encodeonce.models.spec import WeightsSpec
from encodeonce.models.timing import Stopwatch
from encodeonce.models.vision.visual import Visual

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Looked:
    """What looking at a group's media has cost, over all attempts."""

    seconds: Mapping[str, float] = field(default_factory=dict)
    use: CacheUse = NO_USE
    media_sha256: tuple[str, ...] = ()
    """Digests of its files; empty where not all could be looked at."""


_Seen = tuple[tuple[str, ...], list[Visual]]
"""The digests of a group's files, and its media with their features."""


class _Shared:
    """What groups that a block asks again, under another adapter, need not read again."""

    def __init__(self, groups: Iterable[MediaGroup]) -> None:
        """Begin with nothing read; ``groups`` are those of a block's branches, in order."""
        self._left = Counter(group.media for group in groups)
        self._seen: dict[tuple[MediaRef, ...], _Seen] = {}

    def __contains__(self, media: tuple[MediaRef, ...]) -> bool:
        """Return whether the features of some media are held."""
        return media in self._seen

    def take(self, group: MediaGroup) -> _Seen | None:
        """Return what was read for a group; forgotten after its last branch."""
        self._left[group.media] -= 1
        if self._left[group.media] > 0:
            return self._seen.get(group.media)
        return self._seen.pop(group.media, None)

    def put(self, group: MediaGroup, seen: _Seen) -> None:
        """Keep what was read, if there are branches left that need it."""
        if self._left[group.media] > 0:
            self._seen[group.media] = seen


class EvaluateWorker:
    """Answers the questions of a block from stored features. Does not load the tower.

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
        merged = config.adapter_mode == "merged"
        self._session = Session(
            config, adapters=config.adapters, engine=config.engine, merged=merged
        )
        self._stopwatch = self._session.stopwatch
        self._features = self._session.features
        self._adapters = [one for one in config.adapters if one is not None]
        self._evaluator = BlockEvaluator(config)
        self._recorder = Recorder(config, fingerprint, self._stopwatch)
        self._shared = _Shared(())
        if only is not None:
            self._session.decoder_slot.put(only)

    def do(self, block: Block) -> list[dict[str, Any]]:
        """Answer and score every sample of a block; a failure becomes a typed error.

        Raises:
            StoreNotWritable: features had to be encoded, and cannot be stored.
        """
        self._stopwatch.take()
        self._features.take_use()
        looked = [_Looked() for _ in block.members]
        try:
            decoder = self._session.decoder_slot.get(block.weights)
        except Exception as error:
            logger.info("block %s failed", block.members[0].branch.group.media, exc_info=True)
            return [
                record for member in block.members for record in self._failed(member.branch, error)
            ]
        self._shared = _Shared(member.branch.group for member in block.members)
        branches = [self._asked(block.members, number, looked) for number in range(len(looked))]
        found = self._evaluated(decoder, branches, looked)
        loaded = self._session.decoder_slot.take_loaded()
        records = []
        for member, results, spent in zip(block.members, found, looked, strict=True):
            records += self._records(decoder, member, results, spent, loaded)
            loaded = None
        return records

    def _evaluated(
        self, decoder: Decoder, branches: Sequence[AskedBranch], looked: Sequence[_Looked]
    ) -> list[Found]:
        """Return the results of each branch; where adapters are merged, one after another."""
        if not isinstance(decoder, PrefixDecoder) or decoder.merged is None:
            return self._evaluator.evaluate(decoder, branches)
        found: dict[int, Found] = {}
        adapted = next((n for n, one in enumerate(branches) if one.branch.adapter is not None), 0)
        for adapter in dict.fromkeys(one.branch.adapter for one in branches):
            own = [n for n, one in enumerate(branches) if one.branch.adapter == adapter]
            watch = Stopwatch()
            with watch.stage("merge"):
                decoder.merged.switch(None if adapter is None else self._adapters.index(adapter))
            # That an adapter is taken out again for the base is no time of the base's.
            payer = looked[own[0] if adapter is not None else adapted]
            payer.seconds = sum_seconds([payer.seconds, watch.take()])
            results = self._evaluator.evaluate(decoder, [branches[n] for n in own])
            found.update(zip(own, results, strict=True))
        return [found[n] for n in range(len(branches))]

    def _failed(self, branch: Branch, error: Exception) -> list[dict[str, Any]]:
        sha256 = self._session.media_sha256(branch.group.root, branch.group.media)
        return self._recorder.all_failed(branch, error, sha256)

    def expect(self, block: Block) -> None:
        """Start reading the features of the next block's first group."""
        self._expect(block.members[0].branch.group)

    def close(self) -> None:
        """Stop the threads."""
        self._session.close()

    def _asked(
        self, members: Sequence[Member], number: int, looked: Sequence[_Looked]
    ) -> AskedBranch:
        member, mine = members[number], looked[number]

        def visuals() -> list[Visual]:
            if (known := self._shared.take(member.branch.group)) is not None:
                mine.media_sha256, found = known
                return found
            self._stopwatch.take()
            try:
                group = member.branch.group
                requests = [self._request(group, ref) for ref in group.media]
                mine.media_sha256 = tuple(request.media.sha256 for request in requests)
                found = [self._session.visual(request) for request in requests]
            finally:
                mine.seconds = sum_seconds([mine.seconds, self._stopwatch.take()])
                mine.use += self._features.take_use()
            self._shared.put(member.branch.group, (mine.media_sha256, found))
            if number + 1 < len(members):
                following = members[number + 1].branch.group
                if following.media not in self._shared:
                    self._expect(following)
            return found

        return AskedBranch(branch=member.branch, place=member.place, visuals=visuals)

    def _records(
        self,
        decoder: Decoder,
        member: Member,
        found: Found,
        looked: _Looked,
        loaded: LoadedWeights | None,
    ) -> list[dict[str, Any]]:
        unbooked = {
            title: one.seconds for title, one in found.items() if isinstance(one, SettingResults)
        }

        def answer(kv: KVSpec, sample: Sample, prompt: str) -> Result | SampleError:
            self._stopwatch.book(unbooked.pop(kv.title, {}))
            decoder.check(prompt)
            one = found[kv.title]
            return one.results[sample.id] if isinstance(one, SettingResults) else one

        self._stopwatch.take()
        self._stopwatch.book(looked.seconds)
        group = member.branch.group
        sha256 = looked.media_sha256 or self._session.media_sha256(group.root, group.media)
        return self._recorder.record(member.branch, answer, sha256, looked.use, loaded)

    def _expect(self, group: MediaGroup) -> None:
        for ref in group.media:
            try:
                request = self._session.media.request(group.root, ref, group.benchmark)
            except MediaError:  # reported when it is that group's turn
                return
            self._features.read_ahead(request)

    def _request(self, group: MediaGroup, ref: MediaRef) -> MediaRequest:
        return self._session.look_up(group.root, ref, group.benchmark)
