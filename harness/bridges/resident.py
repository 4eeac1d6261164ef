"""Answers programs that put one question at a time, about any files: foreign harnesses.

What questions on the same media share stays in memory from one question to the next.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from encodeonce.cache_store.signature import FeatureKey
from encodeonce.datasets.media.sampling import FrameSampling
from encodeonce.harness.run.config import AnswerConfig
from encodeonce.harness.run.plan import PlannedMedia
from encodeonce.harness.run.record import CacheUse
from encodeonce.harness.workers.media_lookup import MediaRequest
from encodeonce.harness.workers.session import Session
from encodeonce.models.kv.spec import KVSpec
from encodeonce.models.language.generation import Generation
from encodeonce.models.language.prefix import Prefix
from encodeonce.models.spec import WeightsSpec
from encodeonce.models.timing import sum_seconds

Shared = tuple[tuple[FeatureKey, ...], ...]
"""What questions have in common that can share a prefix: the units of each media, by content."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResidentUse:
    """What answering some questions took."""

    num_prefills: int = 0
    """Times that the media of a question were not those of a resident prefix."""
    cache: CacheUse = CacheUse()
    seconds: Mapping[str, float] = field(default_factory=dict)
    """By stage."""

    def __add__(self, other: "ResidentUse") -> "ResidentUse":
        return ResidentUse(
            num_prefills=self.num_prefills + other.num_prefills,
            cache=self.cache + other.cache,
            seconds=sum_seconds([self.seconds, other.seconds]),
        )


class ResidentAnswerer:
    """Answers questions from stored features. The tower is loaded at the first miss, if at all.

    Not for several threads.
    """

    def __init__(
        self, config: AnswerConfig, weights: WeightsSpec, kv: KVSpec, num_prefixes: int
    ) -> None:
        """Load the language side of a model.

        Args:
            config: which model, frames and store.
            weights: a weight variant.
            kv: a cache variant.
            num_prefixes: how many prefixes stay in memory, those used last.

        Raises:
            CheckpointError: there is no such checkpoint, or no family for it.
        """
        self._session = Session(config)
        self._stopwatch = self._session.stopwatch
        self._features = self._session.features
        with self._stopwatch.stage("load"):
            self._decoder = self._session.decoder_slot.put(weights)
        self._kv = kv
        self._generation = config.generation
        self._num_prefixes = num_prefixes
        self._prefixes: OrderedDict[Shared, Prefix] = OrderedDict()
        self._num_prefills = 0

    def ask(
        self, media: Sequence[PlannedMedia], question: str, sampling: FrameSampling
    ) -> Generation:
        """Answer one question.

        Args:
            media: what it is about, in the order of the prompt.
            question: text of the prompt.
            sampling: which frames of a video the model sees.

        Raises:
            MediaError: a file cannot be used.
            MissingFeatures: they are not in the store, and ``cache.on_miss`` is ``error``.
            ValueError: the question contains a placeholder of the model's.
        """
        self._decoder.check(question)
        requests = [
            self._session.look_up(one.root, one.ref, one.benchmark, sampling) for one in media
        ]
        prefix = self._prefix(requests)
        [[answer]] = self._decoder.answer(prefix, [question], self._generation, [self._kv])
        self._stopwatch.book(answer.seconds)
        return answer

    def take_use(self) -> ResidentUse:
        """Return what was done since the last call."""
        num_prefills, self._num_prefills = self._num_prefills, 0
        return ResidentUse(
            num_prefills=num_prefills,
            cache=self._features.take_use(),
            seconds=self._stopwatch.take(),
        )

    def close(self) -> None:
        """Stop the threads; what was put is durable."""
        self._session.close()

    def _prefix(self, requests: Sequence[MediaRequest]) -> Prefix:
        shared = tuple(request.keys for request in requests)
        if shared in self._prefixes:
            self._prefixes.move_to_end(shared)
            return self._prefixes[shared]
        while len(self._prefixes) >= self._num_prefixes:
            # Before the new one is made: the memory may not hold both.
            self._prefixes.popitem(last=False)
        visuals = [self._session.visual(request) for request in requests]
        prefix = self._decoder.prefill(visuals, [self._kv])
        self._stopwatch.book(prefix.seconds)
        self._num_prefills += 1
        self._prefixes[shared] = prefix
        return prefix
