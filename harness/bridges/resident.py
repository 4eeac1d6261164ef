"""Answers other harnesses that ask one question at a time, about any files.

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
from encodeonce.harness.workers.decoder_slot import adapter_number
from encodeonce.harness.workers.media_lookup import MediaRequest
from encodeonce.harness.workers.session import Session
from encodeonce.models.adapters.spec import AdapterSpec
from encodeonce.models.answer import Generation, sum_seconds
from encodeonce.models.kv.spec import KVSpec
from encodeonce.models.language.prefix import Prefix
from encodeonce.models.spec import WeightsSpec

Shared = tuple[tuple[FeatureKey, ...], ...]
"""Key of a shared prefix: the units of each media item, by content."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResidentUse:
    """The cost of answering some questions."""

    num_prefills: int = 0
    """Number of times that no resident prefix held a question's media."""
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

    Not thread-safe.
    """

    def __init__(
        self,
        config: AnswerConfig,
        weights: WeightsSpec,
        kv: KVSpec,
        num_prefixes: int,
        adapter: AdapterSpec | None = None,
    ) -> None:
        """Load the language side of a model.

        Args:
            config: which model, frames and store.
            weights: a weight variant.
            kv: a cache variant.
            num_prefixes: how many of the prefixes used last stay in memory. All are of the one
                adapter: keys and values depend on it.
            adapter: an adapter; None is the base.

        Raises:
            CheckpointError: there is no such checkpoint, or no family for it, or the adapter does
                not fit it.
        """
        self._session = Session(config, adapters=[adapter])
        self._stopwatch = self._session.stopwatch
        self._features = self._session.features
        with self._stopwatch.stage("load"):
            self._decoder = self._session.decoder_slot.put(weights)
        self._adapter = adapter_number(self._decoder, adapter)
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
            media: its media, in the order of the prompt.
            question: text of the prompt.
            sampling: which frames of a video the model sees.

        Raises:
            MediaError: a file cannot be used.
            MissingFeatures: they are not in the store, and ``cache.on_miss`` is ``error``.
            PromptTooLong: it does not fit into the model's context.
            ValueError: the question contains one of the model's placeholders.
        """
        self._decoder.check(question)
        requests = [
            self._session.look_up(one.root, one.ref, one.benchmark, sampling) for one in media
        ]
        prefix = self._prefix(requests)
        self._decoder.check_behind(prefix, question, self._generation.max_new_tokens)
        [[answer]] = self._decoder.answer(prefix, [question], self._generation, [self._kv])
        self._stopwatch.book(answer.seconds)
        return answer

    def take_use(self) -> ResidentUse:
        """Return the cost of all work since the last call."""
        num_prefills, self._num_prefills = self._num_prefills, 0
        return ResidentUse(
            num_prefills=num_prefills,
            cache=self._features.take_use(),
            seconds=self._stopwatch.take(),
        )

    def close(self) -> None:
        """Stop the threads; everything stored is durable."""
        self._session.close()

    def _prefix(self, requests: Sequence[MediaRequest]) -> Prefix:
        shared = tuple(request.keys for request in requests)
        if shared in self._prefixes:
            self._prefixes.move_to_end(shared)
            return self._prefixes[shared]
        while len(self._prefixes) >= self._num_prefixes:
            # Dropped before the new one is made: memory may not hold both.
            self._prefixes.popitem(last=False)
        visuals = [self._session.visual(request) for request in requests]
        prefix = self._decoder.prefill(visuals, [self._kv], adapter=self._adapter)
        self._stopwatch.book(prefix.seconds)
        self._num_prefills += 1
        self._prefixes[shared] = prefix
        return prefix
