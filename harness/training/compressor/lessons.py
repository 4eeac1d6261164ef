"""The lessons of a training: which questions about which media, and what the teacher says."""

import logging
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from encodeonce.cache_store.features import Features
from encodeonce.datasets.media.media import MediaError
from encodeonce.datasets.sample import Sample
from encodeonce.harness.run.plan import MediaGroup
from encodeonce.harness.training.compressor.config import TrainCompressorConfig
from encodeonce.harness.training.media import answers_of, visuals_of
from encodeonce.harness.workers.session import Session
from encodeonce.models.decoder import PrefixDecoder
from encodeonce.models.kv.trained.distillation import Lesson, make_lesson
from encodeonce.models.language.prefix import Prefix
from encodeonce.models.spec import GenerationSpec
from encodeonce.models.vision.visual import Visual

logger = logging.getLogger(__name__)

_GIB = 2**30


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Questions about one prefix."""

    visuals: Sequence[Visual]
    prompts: Sequence[str]
    samples: Sequence[Sample]


class Lessons:
    """Lessons by number: which they are follows from the run file and the number alone."""

    def __init__(
        self,
        config: TrainCompressorConfig,
        session: Session,
        decoder: PrefixDecoder,
        groups: Sequence[MediaGroup],
    ) -> None:
        """Take the training media."""
        self._config, self._session, self._decoder = config, session, decoder
        self._groups, self._data = groups, config.data
        self._known: OrderedDict[int, Lesson] = OrderedDict()
        self._unusable: dict[int, MediaError] = {}
        self._room = int(self._data.teacher_cache_gib * _GIB)

    @property
    def count(self) -> int:
        """Number of different lessons."""
        if self._data.recombine_units:
            return self._data.num_prefixes
        size = self._data.questions_per_prefix
        return sum(-(-len(group.samples) // size) for group in self._groups)

    def draw(self, step: int, index: int) -> Lesson:
        """Return the lesson of a step's place ``index``."""
        generator = np.random.default_rng([self._config.optim.seed, 1, step, index])
        return self.lesson(int(generator.integers(self.count)))

    def lesson(self, number: int) -> Lesson:
        """Return a lesson; one whose media cannot be decoded gives its place to the next.

        Raises:
            MediaError: no lesson's media can be decoded.
        """
        for one in (n % self.count for n in range(number, number + self.count)):
            if one in self._unusable:
                continue
            try:
                return self._remembered(one)
            except MediaError as error:
                logger.warning("left out of training: %s", error)
                self._unusable[one] = error
        raise next(iter(self._unusable.values()))

    def some_prefix(self) -> Prefix:
        """Return a prefix of a training medium that can be decoded."""
        for number, group in enumerate(self._groups, 1):
            try:
                return self._decoder.prefill(visuals_of(self._session, group))
            except MediaError:
                if number == len(self._groups):
                    raise
        raise AssertionError("there are training media")

    def _remembered(self, number: int) -> Lesson:
        """Return a lesson; those used last are kept."""
        found = self._known.pop(number, None) or self._made(self.asked(number))
        self._known[number] = found
        while len(self._known) > 1 and sum(one.nbytes for one in self._known.values()) > self._room:
            self._known.popitem(last=False)
        return found

    def asked(self, number: int) -> Asked:
        """Return a lesson's questions and media."""
        if self._data.recombine_units:
            return self._recombined(number)
        size = self._data.questions_per_prefix
        for group in self._groups:
            parts = -(-len(group.samples) // size)
            if number < parts:
                some = slice(number * size, (number + 1) * size)
                return Asked(
                    visuals=visuals_of(self._session, group),
                    prompts=group.prompts[some],
                    samples=group.samples[some],
                )
            number -= parts
        raise IndexError(number)

    def _recombined(self, number: int) -> Asked:
        generator = np.random.default_rng([self._config.optim.seed, 2, number])
        group = self._groups[int(generator.integers(len(self._groups)))]
        visuals = [self._mixed(visual, generator) for visual in visuals_of(self._session, group)]
        pool = [
            (prompt, sample)
            for other in self._groups
            for prompt, sample in zip(other.prompts, other.samples, strict=True)
            if other.benchmark == group.benchmark and len(other.media) == len(group.media)
        ]
        count = min(self._data.questions_per_prefix, len(pool))
        chosen = [pool[n] for n in generator.choice(len(pool), count, replace=False)]
        prompts, samples = zip(*chosen, strict=True)
        return Asked(visuals=visuals, prompts=prompts, samples=samples)

    def _mixed(self, visual: Visual, generator: np.random.Generator) -> Visual:
        """Return a medium whose every unit is one of any training medium's.

        A unit's features do not depend on its company (`Tower.encode`).
        """
        drawn: list[dict[str, Any]] = []
        for _ in visual.units:
            group = self._groups[int(generator.integers(len(self._groups)))]
            other = visuals_of(self._session, group)[0]
            unit = int(generator.integers(len(other.units)))
            drawn.append({name: rows[unit] for name, rows in other.features.arrays.items()})
        arrays = {}
        for name, rows in visual.features.arrays.items():
            shapes = {one[name].shape for one in drawn} | {rows[0].shape}
            if len(shapes) > 1:
                raise ValueError(
                    "data.recombine_units needs media whose units have features of one shape; "
                    f"got {', '.join(map(str, sorted(shapes)))}. Leave it out"
                )
            arrays[name] = np.stack([one[name] for one in drawn])
        return replace(visual, features=Features(arrays))

    def _made(self, asked: Asked) -> Lesson:
        prefix = self._decoder.prefill(asked.visuals)
        rows = [
            (prefix.suffix(prompt), answer)
            for prompt, answer in zip(asked.prompts, self._answers(prefix, asked), strict=True)
        ]
        scope = self._config.compressor.scope
        if scope == "question":
            rows = [row for row in rows if len(row[1]) > 1]
            if not rows:
                raise ValueError(
                    "compressor.scope: question learns from answers of two tokens or more (the "
                    "first one is the full prefill's); these have one. Use scope: media"
                )
        return make_lesson(
            self._decoder.model, prefix, rows, scope, with_hidden=self._config.loss.needs_hidden
        )

    def _answers(self, prefix: Any, asked: Asked) -> list[Sequence[int]]:
        limit = self._data.answer_tokens
        if self._data.answer == "teacher":
            spec = GenerationSpec(max_new_tokens=limit)
            (answers,) = self._decoder.answer(prefix, asked.prompts, spec)
            return [answer.token_ids for answer in answers]
        return answers_of(self._decoder, [sample.target for sample in asked.samples], limit)
