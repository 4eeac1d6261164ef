"""Answers requests of another harness, in their order.

The other harness decides what is asked and what is done with the answers. Requests on the same
media that lie close together share one read of the features and one prefill, and answers about
neighbouring media are decoded together.
"""

import logging
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any, Generic, TypeVar

from PIL import Image

from encodeonce.cache_store.signature import canonical_json
from encodeonce.datasets.media.in_memory import picture_of
from encodeonce.datasets.media.media import MediaRef
from encodeonce.harness.bridges.asking import AskedGroup, Asker
from encodeonce.harness.bridges.in_order import in_order, windows
from encodeonce.harness.bridges.requests import (
    GenerationRequest,
    LikelihoodRequest,
    MediaFile,
    Request,
    TextScore,
    VariantConfig,
    Work,
)
from encodeonce.harness.workers.decoder_slot import adapter_number
from encodeonce.harness.workers.media_lookup import MediaRequest
from encodeonce.harness.workers.session import Session
from encodeonce.models.answer import Generation, LoadedWeights
from encodeonce.models.spec import GenerationSpec
from encodeonce.models.vision.visual import Visual

logger = logging.getLogger(__name__)

MAX_PIXELS_BYTES = 256 * 2**20
"""Most bytes of pictures without files held at a time."""

A = TypeVar("A", bound=Request)
R = TypeVar("R")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Resolved(Generic[A]):
    """A request with its media, or the reason why they cannot be used."""

    request: A
    media: tuple[MediaRequest, ...] = ()
    error: Exception | None = None

    @property
    def nbytes(self) -> int:
        """Of pictures without files."""
        held = [media.frames for media in self.media if media.frames is not None]
        return sum(frames.pixels_THWC.nbytes for frames in held)


Group = Sequence[_Resolved[A]]
"""Requests on the same media."""
Cut = Callable[[Sequence[Group[A]]], list[list[int]]]
"""Returns the numbers of the groups that are answered together, in their order."""


class Answerer:
    """A model's language side and the store; its tower from the first miss on.

    A request that cannot be answered yields the exception that says why, in its place: whether one
    bad video ends an evaluation is for the other harness to decide.

    Attributes:
        loaded: the language side's size, and the cost of loading it.
    """

    def __init__(self, config: VariantConfig, window: int) -> None:
        """Load the language side.

        Args:
            config: model, store and so on.
            window: how many requests are read ahead to find those that share media.

        Raises:
            ValueError: the checkpoint, or the variant, cannot be used.
            StoreError: the store cannot.
        """
        self._config = config
        self._session = Session(config, adapters=[config.adapter], engine=config.engine)
        self._session.check_weights(config.weights)
        self._window = window
        self._stopwatch = self._session.stopwatch
        self._features = self._session.features
        decoder = self._session.decoder_slot.put(config.weights)
        self.loaded: LoadedWeights = decoder.loaded
        adapter = adapter_number(decoder, config.adapter)
        self._asker = Asker(decoder, config.kv, self._stopwatch, adapter)
        self._returned: Counter[str] = Counter()

    def identity(self) -> str:
        """Return a digest of the settings, and of the variant's files: adapters change in place."""
        config = self._config
        content = {
            "settings": config.model_dump(mode="json"),
            "variant": self._session.variants([config.weights], [config.kv], [config.adapter]),
        }
        return sha256(canonical_json(content).encode()).hexdigest()

    def answers(self, questions: Iterable[GenerationRequest]) -> Iterator[Generation | Exception]:
        """Yield the answer to each question, as soon as its batch has been answered."""
        return self._in_order(questions, _batches, self._answer_batch)

    def scores(self, texts: Iterable[LikelihoodRequest]) -> Iterator[TextScore | Exception]:
        """Yield how likely each text is."""
        return self._in_order(texts, _apart, self._score_group)

    def take_work(self) -> Work:
        """Return the work done since the last call."""
        done, self._asker.done = self._asker.done, Counter()
        returned, self._returned = self._returned, Counter()
        return Work(
            cache=self._features.take_use(),
            num_answers=returned["answers"],
            num_errors=returned["errors"],
            num_prefills=done["prefills"],
            num_tokens=done["tokens"],
            kv_bytes=done["kv bytes"],
            kept_kv_bytes=done["kept kv bytes"],
            seconds=self._stopwatch.take(),
        )

    def close(self) -> None:
        """Stop the threads; everything put into the store is durable."""
        self._session.close()

    def _in_order(
        self,
        requests: Iterable[A],
        cut: Cut[A],
        answer: Callable[[Sequence[Group[A]]], Iterator[R | Exception]],
    ) -> Iterator[R | Exception]:
        held = windows(
            map(self._resolve, requests),
            lambda one: one.nbytes,
            max_items=self._window,
            max_bytes=MAX_PIXELS_BYTES,
        )
        for window in held:
            for result in self._answer_window(window, cut, answer):
                self._returned["errors" if isinstance(result, Exception) else "answers"] += 1
                yield result

    def _answer_window(
        self,
        window: Sequence[_Resolved[A]],
        cut: Cut[A],
        answer: Callable[[Sequence[Group[A]]], Iterator[R | Exception]],
    ) -> Iterator[R | Exception]:
        members: dict[Hashable, list[int]] = {}
        for n, one in enumerate(window):
            # A request whose media cannot be used shares them with no other.
            members.setdefault(one.error or tuple(media.keys for media in one.media), []).append(n)
        groups = [[window[n] for n in positions] for positions in members.values()]
        positions = list(members.values())
        batches = cut(groups)

        def work(number: int) -> Iterator[R | Exception]:
            return answer([groups[n] for n in batches[number]])

        def expect(number: int) -> None:
            self._expect(groups[batches[number][0]])

        parts = [[n for group in batch for n in positions[group]] for batch in batches]
        return in_order(parts, work, expect)

    def _resolve(self, request: A) -> _Resolved[A]:
        try:
            with self._stopwatch.stage("look up"):
                media = tuple(self._look_up(one, request.benchmark) for one in request.media)
        # Any kind of error: it fails this request and no other.
        except Exception as error:
            return _Resolved(request=request, error=error)
        # Without the other harness's objects: decoded pictures would be held twice.
        return _Resolved(request=replace(request, media=()), media=media)

    def _look_up(self, media: MediaFile | Image.Image, benchmark: str) -> MediaRequest:
        if isinstance(media, Image.Image):
            return self._session.media.request_picture(picture_of(media), benchmark)
        # Links are followed: the Hub's cache names its files by links.
        path = media.path.expanduser().resolve()
        ref = MediaRef(kind=media.kind, path=path.name, clip_s=media.clip_s)
        return self._session.media.request(path.parent, ref, benchmark)

    def _expect(self, group: Group[A]) -> None:
        for media in group[0].media:
            self._features.read_ahead(media)

    def _answer_batch(
        self, batch: Sequence[Group[GenerationRequest]]
    ) -> Iterator[Generation | Exception]:
        """Answer groups that are decoded together; one by one if that fails."""
        if len(batch) > 1:
            try:
                found = self._asker.together(
                    [self._asked(batch, n) for n in range(len(batch))],
                    batch[0][0].request.generation,
                )
            # Which group has failed, or was one too many for the memory, will be seen.
            except Exception:
                logger.info("%d groups failed together", len(batch), exc_info=True)
            else:
                for group, answers in zip(batch, found, strict=True):
                    yield from (answers[one.request.prompt] for one in group)
                return
        for group in batch:
            yield from self._work(group, self._asker.answers)

    def _asked(self, batch: Sequence[Group[GenerationRequest]], number: int) -> AskedGroup:
        def visuals() -> list[Visual]:
            found = self._visuals(batch[number][0])
            if number + 1 < len(batch):
                self._expect(batch[number + 1])
            return found

        return AskedGroup(prompts=_prompts(batch[number]), visuals=visuals)

    def _score_group(
        self, batch: Sequence[Group[LikelihoodRequest]]
    ) -> Iterator[TextScore | Exception]:
        (group,) = batch
        return self._work(group, self._asker.scores)

    def _work(
        self,
        group: Group[A],
        answer: Callable[[Sequence[A], Sequence[Visual]], Iterator[R | Exception]],
    ) -> Iterator[R | Exception]:
        """Answer requests on the same media."""
        num_done = 0
        try:
            for result in answer([one.request for one in group], self._visuals(group[0])):
                num_done += 1
                yield result
        # Missing features, or a lack of memory, fail these requests alone.
        except Exception as error:
            logger.info("a request of %s failed", group[0].request.benchmark, exc_info=True)
            yield from [error] * (len(group) - num_done)

    def _visuals(self, resolved: _Resolved[A]) -> list[Visual]:
        if resolved.error is not None:
            raise resolved.error
        return [self._session.visual(media) for media in resolved.media]


def _apart(groups: Sequence[Group[Any]]) -> list[list[int]]:
    """Return a batch of each group."""
    return [[n] for n in range(len(groups))]


def _batches(groups: Sequence[Group[GenerationRequest]]) -> list[list[int]]:
    """Return the numbers of the groups that are decoded together.

    Neighbours whose questions are answered alike share a batch as long as there are places.
    """
    batches: list[list[int]] = []
    shared: GenerationSpec | None = None
    num_free = 0
    for n, group in enumerate(groups):
        specs = {one.request.generation for one in group}
        spec = group[0].request.generation if len(specs) == 1 else None
        num_rows = len(_prompts(group))
        if spec is not None and spec == shared and num_rows <= num_free:
            batches[-1].append(n)
        else:
            batches.append([n])
            shared, num_free = spec, spec.max_batch if spec else 0
        num_free -= num_rows
    return batches


def _prompts(group: Group[GenerationRequest]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(one.request.prompt for one in group))
