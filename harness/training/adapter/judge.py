"""Judges an adapter by answers to questions that it has not learnt from."""

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch

from encodeonce.datasets.media.media import MediaError
from encodeonce.datasets.sample import Benchmark, Sample
from encodeonce.harness.results.intervals import Estimate, clustered_mean
from encodeonce.harness.run.plan import MediaGroup
from encodeonce.harness.training.media import answers_of, visuals_of
from encodeonce.harness.workers.session import Session
from encodeonce.models.adapters.heads import Head
from encodeonce.models.adapters.learning import answer_loss, head_loss
from encodeonce.models.decoder import PrefixDecoder
from encodeonce.models.language.adapting import BASE
from encodeonce.models.language.prefix import Prefix
from encodeonce.models.spec import GenerationSpec
from encodeonce.models.vision.visual import Visual

logger = logging.getLogger(__name__)

_Asked = tuple[str, Sample, str]
"""A benchmark's title, its sample, and the prompt."""


@dataclass(slots=True)
class Marks:
    """The scores of one benchmark's questions, in order."""

    scores: list[float] = field(default_factory=list)
    clusters: list[str] = field(default_factory=list)
    loss: float = 0.0
    """Mean cross entropy of a right answer's tokens, nats."""

    @property
    def estimate(self) -> Estimate:
        """The mean score, with its interval."""
        found = clustered_mean(self.scores, self.clusters)
        assert found is not None, "every benchmark has questions"
        return found


class Judge:
    """Asks held-out questions, from stored features, under the full cache."""

    def __init__(
        self,
        session: Session,
        decoder: PrefixDecoder,
        groups: Sequence[MediaGroup],
        benchmarks: Mapping[str, Benchmark],
        generation: GenerationSpec,
        answer_tokens: int,
    ) -> None:
        """Take the questions.

        Args:
            session: finds media and features.
            decoder: answers.
            groups: the questions.
            benchmarks: score them.
            generation: how answers are written.
            answer_tokens: most tokens of a right answer that the loss is over.
        """
        self._session, self._decoder, self._benchmarks = session, decoder, benchmarks
        self._generation, self._answer_tokens = generation, answer_tokens
        by_media: dict[tuple[object, ...], list[MediaGroup]] = {}
        for group in groups:
            by_media.setdefault((group.root, group.media), []).append(group)
        self._by_media = list(by_media.values())
        self._unusable: dict[int, MediaError] = {}

    def marks(self, adapter: int = BASE, titles: Collection[str] | None = None) -> dict[str, Marks]:
        """Return how the model answers under an adapter, by benchmark.

        Args:
            adapter: number of an adapter that is loaded.
            titles: only of these benchmarks.

        Raises:
            MediaError: no medium of a benchmark can be decoded.
        """
        found: dict[str, Marks] = {}
        losses: dict[str, list[float]] = {}
        for visuals, asked in self._asked(titles):
            prefix = self._decoder.prefill(visuals, adapter=adapter)
            texts = self._texts(prefix, [prompt for _, _, prompt in asked])
            for (title, sample, _), text in zip(asked, texts, strict=True):
                marks = found.setdefault(title, Marks())
                score = self._benchmarks[title].score(sample, text).value
                marks.scores.append(score or 0.0)
                marks.clusters.append(sample.group)
            for title in found:
                some = [(sample, prompt) for one, sample, prompt in asked if one == title]
                if some and (loss := self._loss(prefix, some)) is not None:
                    losses.setdefault(title, []).append(loss)
        for title, marks in found.items():
            marks.loss = sum(losses[title]) / len(losses[title]) if title in losses else 0.0
        return found

    def _texts(self, prefix: Prefix, prompts: Sequence[str]) -> list[str]:
        """Return what is written, or what the adapter's head says if it has one."""
        if self._head(prefix) is None:
            (answers,) = self._decoder.answer(prefix, prompts, self._generation)
            return [answer.text for answer in answers]
        (likelihoods,) = self._decoder.classify(prefix, prompts)
        return [
            max(zip(one.log_probs, one.classes, strict=True), key=lambda pair: pair[0])[1]
            for one in likelihoods
        ]

    def _head(self, prefix: Prefix) -> Head | None:
        bank = self._decoder.adapters
        return None if bank is None or prefix.adapter == BASE else bank.heads[prefix.adapter]

    def _loss(self, prefix: Prefix, some: Sequence[tuple[Sample, str]]) -> float | None:
        """Return the mean loss of right answers; one that is no class of the head has none."""
        asked = [(prefix.suffix(prompt), sample.target) for sample, prompt in some]
        model, head = self._decoder.model, self._head(prefix)
        with torch.inference_mode():
            if head is None:
                texts = [text for _, text in asked]
                answers = answers_of(self._decoder, texts, self._answer_tokens)
                rows = [(suffix, ids) for (suffix, _), ids in zip(asked, answers, strict=True)]
                return float(answer_loss(model, prefix, rows))
            known = [(one, head.classes.index(t)) for one, t in asked if t in head.classes]
            return float(head_loss(model, prefix, head, known)) if known else None

    def _asked(self, titles: Collection[str] | None) -> Iterator[tuple[list[Visual], list[_Asked]]]:
        """Yield media that can be decoded, with all questions about them.

        Raises:
            MediaError: those of a benchmark cannot.
        """
        answered, wanted = set(), set()
        for number, every in enumerate(self._by_media):
            groups = [one for one in every if titles is None or one.benchmark in titles]
            wanted |= {group.benchmark for group in groups}
            if not groups or number in self._unusable:
                continue
            try:  # not kept: there may be many, and the store has them
                visuals = visuals_of(self._session, groups[0])
            except MediaError as error:
                logger.warning("left out of validation: %s", error)
                self._unusable[number] = error
                continue
            answered |= {group.benchmark for group in groups}
            asked = [
                (group.benchmark, sample, prompt)
                for group in groups
                for sample, prompt in zip(group.samples, group.prompts, strict=True)
            ]
            yield visuals, asked
        if answered != wanted:
            raise next(iter(self._unusable.values()))
