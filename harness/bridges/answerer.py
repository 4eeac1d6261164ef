"""Answers requests of another harness, in their order.

The other harness decides what is asked and what is done with the answers. Requests on the same
media that lie close together share one read of the features and one prefill.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from PIL import Image

from encodeonce.datasets.media.in_memory import picture_of
from encodeonce.datasets.media.media import MediaRef
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
from encodeonce.harness.workers.block import reason_against
from encodeonce.harness.workers.decoder_slot import adapter_number
from encodeonce.harness.workers.media_lookup import MediaRequest
from encodeonce.harness.workers.session import Session
from encodeonce.models.checkpoint.footprint import LoadedWeights
from encodeonce.models.language.generation import Generation, GenerationSpec, KVUse
from encodeonce.models.language.prefix import Prefix
from encodeonce.models.vision.visual import Visual

logger = logging.getLogger(__name__)

MAX_PIXELS_BYTES = 256 * 2**20
"""Most bytes of pictures without files held at a time."""

A = TypeVar("A", bound=Request)
R = TypeVar("R")
AnswerGroup = Callable[[Sequence[A], Sequence[Visual]], Iterator[R | Exception]]
"""Yields the results of requests on the same media, in their order."""
Answers = dict[str, Generation | Exception]
"""By prompt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Resolved(Generic[A]):
    """A request with its media, or the reason why they cannot be used."""

    request: A
    media: tuple[MediaRequest, ...] = ()
    error: Exception | None = None

    @property
    def nbytes(self) -> int:
        held = [media.frames for media in self.media if media.frames is not None]
        return sum(frames.pixels_THWC.nbytes for frames in held)


class Answerer:
    """A model's language side and the store; its tower from the first miss on.

    A request that cannot be answered yields the exception that says why, in its place: whether one
    bad video ends an evaluation is for the other harness to decide.
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
        self._session = Session(config, adapters=[config.adapter])
        self._session.check_weights(config.weights)
        self._window = window
        self._kv = config.kv
        self._stopwatch = self._session.stopwatch
        self._features = self._session.features
        self._decoder = self._session.decoder_slot.put(config.weights)
        self._adapter = adapter_number(self._decoder, config.adapter)
        self._done: Counter[str] = Counter()

    @property
    def loaded(self) -> LoadedWeights:
        """The language side's size, and the cost of loading it."""
        return self._decoder.loaded

    def answers(self, questions: Iterable[GenerationRequest]) -> Iterator[Generation | Exception]:
        """Yield the answer to each question, as soon as it is ready."""
        return self._in_order(questions, self._answer_group)

    def scores(self, texts: Iterable[LikelihoodRequest]) -> Iterator[TextScore | Exception]:
        """Yield how likely each text is."""
        return self._in_order(texts, self._score_group)

    def take_work(self) -> Work:
        """Return the work done since the last call."""
        done, self._done = self._done, Counter()
        return Work(
            cache=self._features.take_use(),
            num_answers=done["answers"],
            num_errors=done["errors"],
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
        self, requests: Iterable[A], answer: AnswerGroup[A, R]
    ) -> Iterator[R | Exception]:
        held = windows(
            map(self._resolve, requests),
            lambda one: one.nbytes,
            max_items=self._window,
            max_bytes=MAX_PIXELS_BYTES,
        )
        for window in held:
            for result in self._answer_window(window, answer):
                self._done["errors" if isinstance(result, Exception) else "answers"] += 1
                yield result

    def _answer_window(
        self, window: Sequence[_Resolved[A]], answer: AnswerGroup[A, R]
    ) -> Iterator[R | Exception]:
        def work(members: Sequence[int]) -> Iterator[R | Exception]:
            return self._work([window[n] for n in members], answer)

        def expect(members: Sequence[int]) -> None:
            for media in window[members[0]].media:
                self._features.read_ahead(media)

        # A request whose media cannot be used shares them with no other.
        keys = [one.error or tuple(media.keys for media in one.media) for one in window]
        return in_order(keys, work, expect)

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

    def _work(
        self, members: Sequence[_Resolved[A]], answer: AnswerGroup[A, R]
    ) -> Iterator[R | Exception]:
        """Answer requests on the same media."""
        num_done = 0
        try:
            for result in answer([one.request for one in members], self._visuals(members[0])):
                num_done += 1
                yield result
        # Missing features, or a lack of memory, fail these requests alone.
        except Exception as error:
            logger.info("a request of %s failed", members[0].request.benchmark, exc_info=True)
            yield from [error] * (len(members) - num_done)

    def _visuals(self, resolved: _Resolved[A]) -> list[Visual]:
        if resolved.error is not None:
            raise resolved.error
        return [self._session.visual(media) for media in resolved.media]

    def _answer_group(
        self, questions: Sequence[GenerationRequest], visuals: Sequence[Visual]
    ) -> Iterator[Generation | Exception]:
        prefix = self._prefill(visuals) if self._kv.is_full else None
        known: dict[GenerationSpec, Answers] = {}
        for n, question in enumerate(questions):
            spec = question.generation
            answered = known.setdefault(spec, {})
            if question.prompt not in answered:
                alike = [one.prompt for one in questions[n:] if one.generation == spec]
                fresh = [prompt for prompt in dict.fromkeys(alike) if prompt not in answered]
                if prefix is not None:  # only as much as is due
                    fresh = fresh[: spec.max_batch]
                answered.update(self._answer(prefix, visuals, fresh, spec))
            yield answered[question.prompt]

    def _prefill(self, visuals: Sequence[Visual]) -> Prefix:
        self._done["prefills"] += 1
        prefix = self._decoder.prefill(visuals, [self._kv], adapter=self._adapter)
        self._book(prefix.seconds)
        return prefix

    def _answer(
        self,
        prefix: Prefix | None,
        visuals: Sequence[Visual],
        prompts: Sequence[str],
        spec: GenerationSpec,
    ) -> Answers:
        """Answer prompts from a prefix, or from one of their own: compressed ones are not kept."""
        answers: Answers = {**self._refused(prompts)}
        allowed = [prompt for prompt in prompts if prompt not in answers]
        if not allowed:
            return answers
        prefix = self._prefill(visuals) if prefix is None else prefix
        for prompt in allowed:
            if error := reason_against(self._decoder, prefix, prompt, spec.max_new_tokens):
                answers[prompt] = error
        allowed = [prompt for prompt in allowed if prompt not in answers]
        if not allowed:
            return answers
        (found,) = self._decoder.answer(prefix, allowed, spec, [self._kv])
        for prompt, answer in zip(allowed, found, strict=True):
            self._book(answer.seconds, answer.kv)
            self._done["tokens"] += len(answer.token_ids)
            answers[prompt] = answer
        return answers

    def _score_group(
        self, texts: Sequence[LikelihoodRequest], visuals: Sequence[Visual]
    ) -> Iterator[TextScore | Exception]:
        refused = self._refused([one.prompt for one in texts])
        by_prompt: dict[str, dict[str, None]] = {}
        for one in texts:
            if one.prompt not in refused:
                by_prompt.setdefault(one.prompt, {})[one.text] = None
        scores = self._score(visuals, {prompt: [*one] for prompt, one in by_prompt.items()})
        for one in texts:
            yield refused.get(one.prompt) or scores[one.prompt, one.text]

    def _score(
        self, visuals: Sequence[Visual], texts: Mapping[str, Sequence[str]]
    ) -> dict[tuple[str, str], TextScore | Exception]:
        """Return the scores of texts by prompt and text, or why there is none."""
        if not texts:
            return {}
        prefix = self._prefill(visuals)
        scores: dict[tuple[str, str], TextScore | Exception] = {}
        for prompt, some in texts.items():
            if error := reason_against(self._decoder, prefix, prompt, some):
                scores.update({(prompt, text): error for text in some})
        texts = {prompt: some for prompt, some in texts.items() if (prompt, some[0]) not in scores}
        if not texts:
            return scores
        (found,) = self._decoder.score(prefix, list(texts), list(texts.values()), [self._kv])
        for prompt, one in zip(texts, found, strict=True):
            self._book(one.seconds, one.kv)
            rows = zip(one.log_probs, one.are_greedy, one.num_tokens, strict=True)
            for text, (log_prob, is_greedy, num_tokens) in zip(texts[prompt], rows, strict=True):
                scores[prompt, text] = TextScore(log_prob, is_greedy, num_tokens)
        return scores

    def _refused(self, prompts: Sequence[str]) -> dict[str, Exception]:
        """Return the prompts that cannot be asked, with the reason."""
        refused: dict[str, Exception] = {}
        for prompt in dict.fromkeys(prompts):
            try:
                self._decoder.check(prompt)
            except ValueError as error:
                refused[prompt] = error
        return refused

    def _book(self, seconds: Mapping[str, float], kv: KVUse | None = None) -> None:
        self._stopwatch.book(seconds)
        if kv is not None:
            self._done["kv bytes"] += kv.full_bytes
            self._done["kept kv bytes"] += kv.kept_bytes
