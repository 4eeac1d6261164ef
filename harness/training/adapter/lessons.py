"""The lessons of an adapter: which questions about which medium, and their right answers."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from encodeonce.datasets.media.media import MediaError, MediaRef
from encodeonce.harness.run.plan import MediaGroup
from encodeonce.harness.training.adapter.config import TrainAdapterConfig
from encodeonce.harness.training.adapter.labels import Labels
from encodeonce.harness.training.media import visuals_of
from encodeonce.harness.workers.session import Session
from encodeonce.models.vision.visual import Visual

logger = logging.getLogger(__name__)

Key = tuple[Path, tuple[MediaRef, ...]]
"""The media that questions are about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """Questions about the same media, with what is to be answered."""

    visuals: Sequence[Visual]
    prompts: Sequence[str]
    answers: Sequence[str]


@dataclass(slots=True)
class _About:
    """What is asked about some media."""

    group: MediaGroup
    """Any of them."""
    asked: dict[str, list[tuple[str, str]]]
    """Prompts and answers by benchmark."""


class AdapterLessons:
    """Lessons by number: which they are follows from the run file and the number alone.

    Benchmarks take turns, and share a lesson where they are about the same media, so that each
    gives as many questions, however many it has.
    """

    def __init__(
        self,
        config: TrainAdapterConfig,
        session: Session,
        groups: Sequence[MediaGroup],
        labels: Labels | None,
    ) -> None:
        """Take the training media.

        Raises:
            ValueError: no question of a benchmark has an answer to learn.
        """
        self._config, self._session = config, session
        self._by_media = _by_media(groups, labels)
        self._titles = [spec.title for spec in config.benchmarks]
        self._unusable: dict[Key, MediaError] = {}
        self._require_answers(labels)
        if config.head is not None:
            self._require_classes(config.head.classes)

    @property
    def num_questions(self) -> Mapping[str, int]:
        """How many questions of each benchmark are learnt from."""
        return {
            title: sum(len(about.asked.get(title, ())) for about in self._by_media.values())
            for title in self._titles
        }

    def draw(self, step: int, index: int) -> Lesson:
        """Return the lesson of a step's place ``index``.

        Media that cannot be decoded give their place to others.

        Raises:
            MediaError: none of a benchmark's media can be decoded.
        """
        generator = np.random.default_rng([self._config.optim.seed, 1, step, index])
        turn = step * self._config.optim.prefixes_per_step + index
        title = self._titles[turn % len(self._titles)]
        while True:
            usable = [
                key
                for key, about in self._by_media.items()
                if title in about.asked and key not in self._unusable
            ]
            if not usable:
                raise next(iter(self._unusable.values()))
            key = usable[int(generator.integers(len(usable)))]
            about = self._by_media[key]
            try:
                visuals = visuals_of(self._session, about.group)
            except MediaError as error:
                logger.warning("left out of training: %s", error)
                self._unusable[key] = error
                continue
            chosen = self._chosen(about, title, generator)
            prompts, answers = zip(*chosen, strict=True)
            return Lesson(visuals=visuals, prompts=prompts, answers=answers)

    def _require_answers(self, labels: Labels | None) -> None:
        for title, number in self.num_questions.items():
            if number:
                continue
            source = "the benchmark has no targets"
            if labels is not None:
                source = f"data.labels: {self._config.data.labels} has no label"
            raise ValueError(
                f"nothing is learnt from {title!r}: {source} for its samples about training media"
            )

    def _require_classes(self, classes: Sequence[str]) -> None:
        every = [some for about in self._by_media.values() for some in about.asked.values()]
        missing = sorted({answer for some in every for _, answer in some} - set(classes))
        if missing:
            raise ValueError(
                f"head.classes lacks answers that are to be learnt: {', '.join(missing[:5])}"
                f"{' and others' if len(missing) > 5 else ''}; it has {', '.join(classes)}"
            )

    def _chosen(
        self, about: _About, title: str, generator: np.random.Generator
    ) -> list[tuple[str, str]]:
        """Return some questions about media, of all benchmarks in turn."""
        first = self._titles.index(title)
        titles = [*self._titles[first:], *self._titles[:first]]
        left = {
            one: [about.asked[one][n] for n in generator.permutation(len(about.asked[one]))]
            for one in titles
            if one in about.asked
        }
        size = self._config.data.questions_per_prefix
        # As many of each, and not what the others leave where one has few.
        most = -(-size // len(left))
        turns = [row[n] for n in range(most) for row in left.values() if n < len(row)]
        return turns[:size]


def _by_media(groups: Sequence[MediaGroup], labels: Labels | None) -> dict[Key, _About]:
    found: dict[Key, _About] = {}
    for group in groups:
        asked = []
        for sample, prompt in zip(group.samples, group.prompts, strict=True):
            label = sample.target if labels is None else labels.get((group.benchmark, sample.id))
            if label:
                asked.append((prompt, label))
        if asked:
            about = found.setdefault((group.root, group.media), _About(group, {}))
            about.asked.setdefault(group.benchmark, []).extend(asked)
    return found
