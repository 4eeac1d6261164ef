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
from encodeonce.models.adapters.learning import answer_loss
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
        self._visuals: dict[int, list[Visual] | None] = {}

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
            prompts = [prompt for _, _, prompt in asked]
            (answers,) = self._decoder.answer(prefix, prompts, self._generation)
            for (title, sample, _), answer in zip(asked, answers, strict=True):
                marks = found.setdefault(title, Marks())
                score = self._benchmarks[title].score(sample, answer.text).value
                marks.scores.append(score or 0.0)
                marks.clusters.append(sample.group)
            for title in found:
                some = [(sample, prompt) for one, sample, prompt in asked if one == title]
                if some:
                    losses.setdefault(title, []).append(self._loss(prefix, some))
        for title, marks in found.items():
            marks.loss = sum(losses[title]) / len(losses[title])
        return found

    def _loss(self, prefix: Prefix, some: Sequence[tuple[Sample, str]]) -> float:
        texts = [sample.target for sample, _ in some]
        answers = answers_of(self._decoder, texts, self._answer_tokens)
        rows = [
            (prefix.suffix(prompt), answer)
            for (_, prompt), answer in zip(some, answers, strict=True)
        ]
        with torch.inference_mode():
            return float(answer_loss(self._decoder.model, prefix, rows))

    def _asked(self, titles: Collection[str] | None) -> Iterator[tuple[list[Visual], list[_Asked]]]:
        """Yield media that can be decoded, with all questions about them.

        Raises:
            MediaError: those of a benchmark cannot.
        """
        answered, failed, wanted = set(), None, set()
        for number, every in enumerate(self._by_media):
            groups = [one for one in every if titles is None or one.benchmark in titles]
            wanted |= {group.benchmark for group in groups}
            if not groups:
                continue
            if number not in self._visuals:
                try:
                    self._visuals[number] = visuals_of(self._session, groups[0])
                except MediaError as error:
                    logger.warning("left out of validation: %s", error)
                    self._visuals[number], failed = None, error
            if (visuals := self._visuals[number]) is not None:
                answered |= {group.benchmark for group in groups}
                yield (
                    visuals,
                    [
                        (group.benchmark, sample, prompt)
                        for group in groups
                        for sample, prompt in zip(group.samples, group.prompts, strict=True)
                    ],
                )
        if failed is not None and answered != wanted:
            raise failed
