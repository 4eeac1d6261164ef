"""Answers what another harness asks, one request after another and in its order.

The other harness decides what is asked and what comes of the answers. Requests on the same media
that lie close together share one read of the features and one prefill.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

from PIL import Image

from encodeonce.datasets.media import MediaKind, MediaRef
from encodeonce.datasets.pictures import picture_of
from encodeonce.harness.config import AnswerConfig
from encodeonce.harness.features import FeatureSource, MediaRequest
from encodeonce.harness.grouping import in_order, windows
from encodeonce.harness.record import CacheUse
from encodeonce.harness.workplace import Workplace
from encodeonce.models.family import Generation, GenerationSpec, Visual
from encodeonce.models.prefix import Prefix
from encodeonce.models.timing import Stopwatch

logger = logging.getLogger(__name__)

MAX_PIXELS_BYTES = 256 * 2**20
"""Pictures without files that are held at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaFile:
    """A file, wherever it lies: the other harness is trusted to name it."""

    kind: MediaKind
    path: Path
    clip_s: tuple[float, float] | None = None
    """Part of a video, [start, end) in seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A prompt about some media."""

    media: tuple[MediaFile | Image.Image, ...]
    prompt: str
    benchmark: str
    """Who asks: kept beside features for people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question(Asked):
    """To be answered by greedy generation."""

    generation: GenerationSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Continuation(Asked):
    """To be answered by how likely a text is as the answer."""

    text: str


class TextScore(NamedTuple):
    """How likely a text is."""

    log_prob: float
    is_greedy: bool
    """Whether it begins what greedy generation would write."""
    num_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What answering took."""

    cache: CacheUse
    num_answers: int
    num_errors: int
    num_prefills: int
    num_tokens: int
    """Generated ones."""
    seconds: dict[str, float]
    """By stage."""


A = TypeVar("A", bound=Asked)
R = TypeVar("R")
AnswerGroup = Callable[[Sequence[A], Sequence[Visual]], Iterator[R | Exception]]
"""Yields the results of requests on the same media, in their order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Resolved(Generic[A]):
    """A request whose media are known, or the reason why they are not."""

    asked: A
    media: tuple[MediaRequest, ...] = ()
    error: Exception | None = None

    @property
    def nbytes(self) -> int:
        held = [request.frames for request in self.media if request.frames is not None]
        return sum(frames.pixels_THWC.nbytes for frames in held)


class Answerer:
    """A model's language side and the store; its tower from the first miss on.

    What cannot be answered comes back as the exception that says why, in its place: whether one
    bad video ends an evaluation is the other harness's business.
    """

    def __init__(self, config: AnswerConfig, window: int) -> None:
        """Load the language side.

        Args:
            config: model, store and so on.
            window: so many requests are looked at together, to find those that share media.

        Raises:
            ValueError: the checkpoint cannot be used.
            StoreError: the store cannot.
        """
        self._workplace = Workplace(config)
        self._window = window
        self._stopwatch = Stopwatch()
        load_tower = self._workplace.vision.load if config.cache.on_miss == "encode" else None
        self._source = FeatureSource(
            self._workplace.open_store(),
            load_tower,
            self._stopwatch,
            self._workplace.provenance(),
            memory_bytes=config.cache.memory_mib * 2**20,
        )
        self._decoder = self._workplace.family.decoder(
            self._workplace.checkpoint, config.model, config.vision
        )
        self._num_answers = self._num_errors = self._num_prefills = self._num_tokens = 0

    def answers(self, questions: Iterable[Question]) -> Iterator[Generation | Exception]:
        """Yield the answer to each question, as soon as there is one."""
        return self._in_order(questions, self._answer_group)

    def scores(self, texts: Iterable[Continuation]) -> Iterator[TextScore | Exception]:
        """Yield how likely each text is."""
        return self._in_order(texts, self._score_group)

    def take_work(self) -> Work:
        """Return what was done since the last call."""
        work = Work(
            cache=self._source.take_use(),
            num_answers=self._num_answers,
            num_errors=self._num_errors,
            num_prefills=self._num_prefills,
            num_tokens=self._num_tokens,
            seconds=dict(self._stopwatch.take()),
        )
        self._num_answers = self._num_errors = self._num_prefills = self._num_tokens = 0
        return work

    def close(self) -> None:
        """Stop the threads; what was put into the store is durable."""
        self._source.close()

    def _in_order(
        self,
        asked: Iterable[A],
        answer: AnswerGroup[A, R],
    ) -> Iterator[R | Exception]:
        held = windows(
            map(self._resolve, asked),
            lambda one: one.nbytes,
            max_items=self._window,
            max_bytes=MAX_PIXELS_BYTES,
        )
        for window in held:
            for result in self._answer_window(window, answer):
                if isinstance(result, Exception):
                    self._num_errors += 1
                else:
                    self._num_answers += 1
                yield result

    def _answer_window(
        self, window: Sequence[_Resolved[A]], answer: AnswerGroup[A, R]
    ) -> Iterator[R | Exception]:
        def work(members: Sequence[int]) -> Iterator[R | Exception]:
            return self._work([window[n] for n in members], answer)

        def expect(members: Sequence[int]) -> None:
            for media in window[members[0]].media:
                self._source.read_ahead(media)

        # A request whose media are not known shares them with no other.
        keys = [one.error or tuple(media.keys for media in one.media) for one in window]
        return in_order(keys, work, expect)

    def _resolve(self, asked: A) -> _Resolved[A]:
        try:
            with self._stopwatch.stage("look up"):
                media = tuple(self._request(one, asked.benchmark) for one in asked.media)
        # Any kind: it takes one request with it and no other.
        except Exception as error:
            return _Resolved(asked=asked, error=error)
        # Without what the other harness gave: decoded pictures would be held twice.
        return _Resolved(asked=replace(asked, media=()), media=media)

    def _request(self, media: MediaFile | Image.Image, benchmark: str) -> MediaRequest:
        if isinstance(media, Image.Image):
            return self._workplace.request_picture(picture_of(media), benchmark)
        # Through links, which is how the Hub's cache names its files.
        path = media.path.expanduser().resolve()
        ref = MediaRef(kind=media.kind, path=path.name, clip_s=media.clip_s)
        return self._workplace.request(path.parent, ref, benchmark)

    def _work(
        self,
        members: Sequence[_Resolved[A]],
        answer: AnswerGroup[A, R],
    ) -> Iterator[R | Exception]:
        """Answer requests on the same media, each no earlier than it is due."""
        num_done = 0
        try:
            for result in answer([one.asked for one in members], self._fetch(members[0])):
                num_done += 1
                yield result
        # What keeps the features away, or is too much for the memory, fails these alone.
        except Exception as error:
            logger.info("a request of %s failed", members[0].asked.benchmark, exc_info=True)
            yield from [error] * (len(members) - num_done)

    def _fetch(self, resolved: _Resolved[A]) -> list[Visual]:
        if resolved.error is not None:
            raise resolved.error
        return [
            Visual(info=media.info, units=media.units, features=self._source.fetch(media))
            for media in resolved.media
        ]

    def _answer_group(
        self, questions: Sequence[Question], visuals: Sequence[Visual]
    ) -> Iterator[Generation | Exception]:
        self._num_prefills += 1
        prefix = self._decoder.prefill(visuals)
        self._book(prefix.seconds)
        known: dict[tuple[str, GenerationSpec], Generation | Exception] = {}
        for n, question in enumerate(questions):
            spec = question.generation
            if (question.prompt, spec) not in known:
                alike = dict.fromkeys(one.prompt for one in questions[n:] if one.generation == spec)
                fresh = [prompt for prompt in alike if (prompt, spec) not in known]
                answers = self._batch(prefix, fresh[: spec.max_batch], spec)
                known.update(((prompt, spec), answer) for prompt, answer in answers.items())
            yield known[question.prompt, spec]

    def _batch(
        self, prefix: Prefix, prompts: Sequence[str], spec: GenerationSpec
    ) -> dict[str, Generation | Exception]:
        found: dict[str, Generation | Exception] = {**self._refused(prompts)}
        askable = [prompt for prompt in prompts if prompt not in found]
        if askable:
            answers = self._decoder.answer_from(prefix, askable, spec)
            for prompt, answer in zip(askable, answers, strict=True):
                self._book(answer.seconds)
                self._num_tokens += len(answer.token_ids)
                found[prompt] = answer
        return found

    def _score_group(
        self, texts: Sequence[Continuation], visuals: Sequence[Visual]
    ) -> Iterator[TextScore | Exception]:
        refused = self._refused([one.prompt for one in texts])
        by_prompt: dict[str, dict[str, None]] = {}
        for one in texts:
            if one.prompt not in refused:
                by_prompt.setdefault(one.prompt, {})[one.text] = None
        scores: dict[tuple[str, str], TextScore] = {}
        if by_prompt:
            self._num_prefills += 1
            wanted = [tuple(of_prompt) for of_prompt in by_prompt.values()]
            found = self._decoder.likelihoods(visuals, list(by_prompt), wanted)
            for prompt, of_prompt, likely in zip(by_prompt, wanted, found, strict=True):
                self._book(likely.seconds)
                rows = zip(
                    of_prompt, likely.log_probs, likely.are_greedy, likely.num_tokens, strict=True
                )
                for text, log_prob, is_greedy, num_tokens in rows:
                    scores[prompt, text] = TextScore(log_prob, is_greedy, num_tokens)
        for one in texts:
            yield refused.get(one.prompt) or scores[one.prompt, one.text]

    def _refused(self, prompts: Sequence[str]) -> dict[str, Exception]:
        """Return the prompts that cannot be put, with the reason."""
        refused: dict[str, Exception] = {}
        for prompt in dict.fromkeys(prompts):
            try:
                self._decoder.check(prompt)
            except ValueError as error:
                refused[prompt] = error
        return refused

    def _book(self, seconds: Mapping[str, float]) -> None:
        for stage, value in seconds.items():
            self._stopwatch.add(stage, value)
