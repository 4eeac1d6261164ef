"""The language side of a model, which prefills media once for all questions about them."""

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import replace
from typing import Any, Self

import torch

from encodeonce.models.adapters.holding import HoldsAdapters
from encodeonce.models.adapters.lora_config import AdapterError
from encodeonce.models.answer import Generation, Likelihoods, LoadedWeights, sum_seconds
from encodeonce.models.checkpoint.rows import mixes_rows
from encodeonce.models.kv.budget import cache_bytes
from encodeonce.models.kv.engine import DecodeEngine
from encodeonce.models.kv.kernels.choice import kernels_of
from encodeonce.models.kv.likelihoods import sweep_likelihoods
from encodeonce.models.kv.prompts import Prompts, needs_of, prefix_observation, question_observation
from encodeonce.models.kv.spec import FULL, KVSpec
from encodeonce.models.kv.statistics import Needs, PromptStatistics
from encodeonce.models.language.adapting import BASE, using
from encodeonce.models.language.context import check_length, refuse_unknown_tokens
from encodeonce.models.language.likelihood import (
    extended_inputs,
    logits_from,
    read_on,
    tokenize_continuations,
)
from encodeonce.models.language.prefix import Observation, Opening, Prefix, continued, prefill
from encodeonce.models.spec import GenerationSpec
from encodeonce.models.timing import Stopwatch, synchronize
from encodeonce.models.vision.visual import Visual


class PrefixDecoder(HoldsAdapters, ABC):
    """Answers groups of questions. Not thread-safe: prefixes keep state in the model."""

    def __init__(self, model: Any, tokenizer: Any, loaded: LoadedWeights) -> None:
        """Wrap a transformers model with ``generate``, and its tokenizer.

        Args:
            model: the model.
            tokenizer: its tokenizer.
            loaded: the model's size, and the cost of loading it.
        """
        self._model = model
        self._tokenizer = tokenizer
        self.loaded = replace(loaded, kernels=kernels_of(model))

    @property
    def model(self) -> Any:
        """The transformers model, without its tower."""
        return self._model

    @property
    def tokenizer(self) -> Any:
        """The model's tokenizer."""
        return self._tokenizer

    @abstractmethod
    def check(self, question: str) -> None:
        """Refuse a question that cannot be asked.

        Raises:
            ValueError: it contains one of the model's placeholders.
        """

    def check_behind(self, prefix: Prefix, question: str, answer: int | Sequence[str]) -> None:
        """Refuse a question that cannot be asked behind a prefix: it would not fit."""
        suffix = prefix.suffix(question)
        refuse_unknown_tokens(self._model, suffix)
        num_prompt = prefix.num_tokens + len(suffix)
        if not isinstance(answer, int):
            answer = max(map(len, tokenize_continuations(self._tokenizer, answer)))
        offset = prefix.opening.position_offset
        check_length(self._model.config, num_prompt + offset, answer)

    @abstractmethod
    def _open(self, visuals: Sequence[Visual]) -> Opening:
        """Return the common beginning of prompts about some media."""

    def prefill(
        self,
        visuals: Sequence[Visual],
        settings: Sequence[KVSpec] = (FULL,),
        *,
        adapter: int = BASE,
    ) -> Prefix:
        """Prefill what the prompts of all questions about some media share, under an adapter."""
        is_watched = not all(setting.is_full for setting in settings)
        seen = prefix_observation(needs_of(settings)) if is_watched else None
        return self._prefill(visuals, seen, adapter)

    def continuing(self, prefix: Prefix, adapter: int) -> Prefix | None:
        """Return a prefix whose questions are under another adapter, with the same keys and values.

        None if it has to be prefilled anew: only the base, and adapters that begin behind the
        prefix (aLoRA), have the same.
        """
        activation = self.activation(adapter)
        if not prefix.is_of_base or (adapter != BASE and activation is None):
            return None
        return replace(prefix, adapter=adapter, activation=activation, seconds={}, _suffixes={})

    def prefill_with_gradients(self, visuals: Sequence[Visual]) -> Prefix:
        """Prefill the same with a graph, for what is trained beside the frozen model."""
        return self._prefill(visuals, None, with_gradients=True)

    def answer(
        self,
        prefix: Prefix,
        questions: Sequence[str],
        generation: GenerationSpec,
        settings: Sequence[KVSpec] = (FULL,),
        *,
        fidelity: bool = False,
    ) -> list[list[Generation]]:
        """Answer questions from a prefix, which can be used again."""
        # Nobody else will take the other places.
        num_places = min(generation.max_batch, len(questions))
        alone = generation.model_copy(update={"max_batch": num_places})
        engine = self.engine(alone, settings, fidelity=fidelity)
        engine.ask("", prefix, questions)
        return engine.finish()[""]

    def engine(
        self,
        generation: GenerationSpec,
        settings: Sequence[KVSpec] = (FULL,),
        *,
        fidelity: bool = False,
    ) -> DecodeEngine:
        """Return an engine that decodes the answers about several media together."""
        return DecodeEngine(
            self._model,
            self._tokenizer,
            settings,
            self._independent(generation),
            fidelity=fidelity,
            max_bytes=cache_bytes(self._model.device, generation.max_cache_gib),
        )

    def score(
        self,
        prefix: Prefix,
        questions: Sequence[str],
        continuations: Sequence[Sequence[str]],
        settings: Sequence[KVSpec] = (FULL,),
    ) -> list[list[Likelihoods]]:
        """Return the likelihoods of each question's continuations, one question after another."""
        found = []
        for question, texts in zip(questions, continuations, strict=True):
            watch = Stopwatch()
            with watch.stage("prepare"):
                suffix = prefix.suffix(question)
                token_ids = tokenize_continuations(self._tokenizer, texts)
            first, *others = sweep_likelihoods(self._model, prefix, settings, suffix, token_ids)
            found.append([_booked(first, watch.take()), *others])
        return [[row[n] for row in found] for n in range(len(settings))]

    def classify(
        self, prefix: Prefix, questions: Sequence[str], settings: Sequence[KVSpec] = (FULL,)
    ) -> list[list[Likelihoods]]:
        """Return how likely each class of the head of the prefix's adapter is, as `score` does.

        Log-softmax over the classes, float32. Settings of scope "question" change nothing: the
        hidden state is the full prefill's.

        Raises:
            AdapterError: the prefix is of no adapter with a head.
        """
        head = None
        if self.adapters is not None and prefix.adapter != BASE:
            head = self.adapters.heads[prefix.adapter]
        if head is None:
            raise AdapterError(
                "only adapters that were trained with a head classify; train one with 'head' in "
                "TRAIN.yaml, or leave scoring: head out"
            )
        found = []
        for question in questions:
            watch = Stopwatch()
            with watch.stage("prepare"):
                suffix = prefix.suffix(question)
            classes = [[number] for number in range(len(head.classes))]
            with head.attached(self._model):
                first, *others = sweep_likelihoods(self._model, prefix, settings, suffix, classes)
            row = [_booked(first, watch.take()), *others]
            found.append([replace(one, classes=head.classes) for one in row])
        return [[row[n] for row in found] for n in range(len(settings))]

    def inspect(self, visuals: Sequence[Visual], question: str, needs: Needs) -> PromptStatistics:
        """Return one prompt's statistics for KV methods."""
        prefix = self._prefill(visuals, prefix_observation(needs))
        suffix = prefix.suffix(question)
        seen = question_observation(needs, len(suffix))
        index = prefix.index([suffix])
        with continued(self._model, prefix), using(index), seen.watching(self._model):
            read_on(self._model, [suffix], prefix.fork())
        return Prompts(self._model, prefix, seen, [len(suffix)]).statistics(0)

    def whole_prompt(self, visuals: Sequence[Visual], question: str, answer: str) -> dict[str, Any]:
        """Return the arguments of the model's forward for a prompt with its answer, in one pass."""
        opening = self._open(visuals)
        asked = opening.prompt(question)[len(opening.token_ids) :]
        answered = self._tokenizer(answer, add_special_tokens=False).input_ids
        return extended_inputs(self._model, opening.inputs, [*asked, *answered])

    def answer_logits(
        self, visuals: Sequence[Visual], question: str, token_ids: Sequence[int]
    ) -> torch.Tensor:
        """Return the logits (L, V) before each token of a given answer, teacher-forced."""
        prefix = self.prefill(visuals)
        with continued(self._model, prefix):
            suffix = prefix.suffix(question)
            return logits_from(self._model, prefix, suffix, [token_ids])[0]

    def through(self, model: Any) -> Self:
        """Return a decoder of the same adapters whose passes go through another model.

        Args:
            model: of the same weights and modules, but for what is around its linear layers.
        """
        found = copy(self)
        found._model = model
        return found

    def _prefill(
        self,
        visuals: Sequence[Visual],
        observation: Observation | None,
        adapter: int = BASE,
        *,
        with_gradients: bool = False,
    ) -> Prefix:
        activation = self.activation(adapter)
        synchronize()
        start = time.perf_counter()
        with using(adapter if activation is None else BASE):  # the projector may be adapted
            opening = self._open(visuals)
        check_length(self._model.config, len(opening.token_ids) + opening.position_offset, 1)
        synchronize()
        prepare_s = time.perf_counter() - start
        return prefill(
            self._model,
            opening,
            prepare_s,
            observation,
            adapter,
            activation,
            with_gradients=with_gradients,
        )

    def _independent(self, generation: GenerationSpec) -> GenerationSpec:
        """Return settings under which no answer depends on the others in its batch."""
        if mixes_rows(self._model):
            return generation.model_copy(update={"max_batch": 1, "max_forks": 1})
        return generation


def _booked(result: Likelihoods, seconds: Mapping[str, float]) -> Likelihoods:
    """Return a result with seconds added."""
    return replace(result, seconds=sum_seconds([seconds, result.seconds]))
