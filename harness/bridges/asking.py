"""Asks a decoder what another harness wants to know about media whose features are at hand."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from encodeonce.harness.bridges.requests import GenerationRequest, LikelihoodRequest, TextScore
from encodeonce.harness.workers.askable import reason_against
from encodeonce.models.answer import Generation, KVUse
from encodeonce.models.family import Decoder
from encodeonce.models.kv.spec import KVSpec
from encodeonce.models.language.adapting import BASE
from encodeonce.models.language.prefix import Prefix
from encodeonce.models.spec import GenerationSpec
from encodeonce.models.timing import Stopwatch
from encodeonce.models.vision.visual import Visual

Answers = dict[str, Generation | Exception]
"""By prompt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedGroup:
    """Questions about the same media, to be answered alike."""

    prompts: tuple[str, ...]
    visuals: Callable[[], Sequence[Visual]]
    """Reads the media's features; what it raises fails this group alone."""


class Asker:
    """Answers under one cache setting and adapter, and books what that costs.

    Attributes:
        done: answers' tokens, prefills, bytes of keys and values, since it was last emptied.
    """

    def __init__(
        self, decoder: Decoder, kv: KVSpec, stopwatch: Stopwatch, adapter: int = BASE
    ) -> None:
        self.done: Counter[str] = Counter()
        self._decoder = decoder
        self._kv = kv
        self._adapter = adapter
        self._stopwatch = stopwatch

    def answers(
        self, questions: Sequence[GenerationRequest], visuals: Sequence[Visual]
    ) -> Iterator[Generation | Exception]:
        """Yield the answers to questions about the same media, working only as far as is due."""
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

    def together(self, groups: Sequence[AskedGroup], spec: GenerationSpec) -> list[Answers]:
        """Return the answers about several media, all decoded as one batch.

        Args:
            groups: with as many prompts in all as there are places in a batch, or fewer.
            spec: how to answer.
        """
        num_places = sum(len(group.prompts) for group in groups)
        engine = self._decoder.engine(spec.model_copy(update={"max_batch": num_places}), [self._kv])
        found: list[Answers] = []
        asked: dict[int, list[str]] = {}
        place = 0
        for number, group in enumerate(groups):
            answers: Answers = {**self._refused(group.prompts)}
            found.append(answers)
            allowed = [prompt for prompt in group.prompts if prompt not in answers]
            if not allowed:
                continue
            try:
                visuals = group.visuals()
            except Exception as error:  # noqa: BLE001 - missing features fail this group alone
                answers.update(dict.fromkeys(allowed, error))
                continue
            prefix = self._prefill(visuals)
            if allowed := self._fitting(prefix, allowed, spec, answers):
                engine.ask(number, prefix, allowed, place)
                asked[number] = allowed
                place += len(allowed)
        done = engine.finish()
        for number, prompts in asked.items():
            (results,) = done[number]
            found[number].update(self._booked(prompts, results))
        return found

    def scores(
        self, texts: Sequence[LikelihoodRequest], visuals: Sequence[Visual]
    ) -> Iterator[TextScore | Exception]:
        """Yield how likely texts about the same media are."""
        refused = self._refused([one.prompt for one in texts])
        by_prompt: dict[str, dict[str, None]] = {}
        for one in texts:
            if one.prompt not in refused:
                by_prompt.setdefault(one.prompt, {})[one.text] = None
        scores = self._score(visuals, {prompt: [*one] for prompt, one in by_prompt.items()})
        for one in texts:
            yield refused.get(one.prompt) or scores[one.prompt, one.text]

    def _prefill(self, visuals: Sequence[Visual]) -> Prefix:
        self.done["prefills"] += 1
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
        if allowed := self._fitting(prefix, allowed, spec, answers):
            (found,) = self._decoder.answer(prefix, allowed, spec, [self._kv])
            answers.update(self._booked(allowed, found))
        return answers

    def _fitting(
        self, prefix: Prefix, prompts: Sequence[str], spec: GenerationSpec, answers: Answers
    ) -> list[str]:
        """Return the prompts that fit behind a prefix; of the others, write down the reason."""
        for prompt in prompts:
            if error := reason_against(self._decoder, prefix, prompt, spec.max_new_tokens):
                answers[prompt] = error
        return [prompt for prompt in prompts if prompt not in answers]

    def _booked(self, prompts: Sequence[str], found: Sequence[Generation]) -> Answers:
        for answer in found:
            self._book(answer.seconds, answer.kv)
            self.done["tokens"] += len(answer.token_ids)
        return dict(zip(prompts, found, strict=True))

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
            self.done["kv bytes"] += kv.full_bytes
            self.done["kept kv bytes"] += kv.kept_bytes
