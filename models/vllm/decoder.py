"""The language side as vLLM runs it, behind the interface of every decoder."""

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NoReturn

from transformers import DynamicCache

from encodeonce.models.adapters.spec import AdapterSpec
from encodeonce.models.answer import Generation, Likelihoods, LoadedWeights
from encodeonce.models.family_bases.opener import Opener
from encodeonce.models.kv.spec import FULL, KVSpec
from encodeonce.models.language.adapting import BASE
from encodeonce.models.language.context import check_length
from encodeonce.models.language.prefix import Prefix
from encodeonce.models.spec import GenerationSpec
from encodeonce.models.vision.visual import Visual
from encodeonce.models.vllm.engine import VllmEngine
from encodeonce.models.vllm.inputs import Layout, items_of
from encodeonce.models.vllm.model import VllmModel


class LoadedAdapters:
    """The adapters that an engine was loaded with."""

    def __init__(self, titles: Sequence[str]) -> None:
        """Take their titles, in the order of their numbers."""
        self.titles = tuple(titles)

    def number(self, title: str) -> int:
        """Return an adapter's number."""
        return self.titles.index(title)


class VllmDecoder:
    """Answers under the full cache; prefixes are vLLM's to keep and to share."""

    def __init__(
        self,
        model: VllmModel,
        opener: Opener,
        layout: Layout,
        loaded: LoadedWeights,
        adapters: Sequence[str],
    ) -> None:
        """Take a loaded engine.

        Args:
            model: the engine.
            opener: makes prompts, and projects features.
            layout: how the engine takes features.
            loaded: its size, and the cost of loading it.
            adapters: the titles of those that it was loaded with.
        """
        self._model, self._opener, self._layout = model, opener, layout
        self.loaded = loaded
        self.adapters = LoadedAdapters(adapters)

    def check(self, question: str) -> None:
        """Refuse a question that contains a placeholder."""
        self._opener.chat.check(question)

    def load_adapters(self, specs: Sequence[AdapterSpec], *, are_merged: bool = False) -> None:
        """Do nothing: an engine is loaded with its adapters."""

    def prefill(
        self,
        visuals: Sequence[Visual],
        settings: Sequence[KVSpec] = (FULL,),
        *,
        adapter: int = BASE,
    ) -> Prefix:
        """Return what the prompts of all questions about some media share, not yet computed."""
        start = time.perf_counter()
        opening, shown = self._opener.open(visuals)
        offset = opening.position_offset
        check_length(self._opener.model.config, len(opening.token_ids) + offset, 1)
        items = items_of(shown, opening.is_visual, self._layout)
        return Prefix(
            opening=replace(opening, inputs={"items": items}),
            cache=DynamicCache(),  # empty: keys and values are in the engine's blocks
            seconds={"prepare": time.perf_counter() - start},
            adapter=adapter,
        )

    def check_behind(self, prefix: Prefix, question: str, answer: int | Sequence[str]) -> None:
        """Refuse a question that cannot be asked behind a prefix: it would not fit."""
        num_prompt = prefix.num_tokens + len(prefix.suffix(question))
        offset = prefix.opening.position_offset
        num_new = answer if isinstance(answer, int) else 1
        check_length(self._opener.model.config, num_prompt + offset, num_new)

    def answer(
        self,
        prefix: Prefix,
        questions: Sequence[str],
        generation: GenerationSpec,
        settings: Sequence[KVSpec] = (FULL,),
        *,
        fidelity: bool = False,
    ) -> list[list[Generation]]:
        """Answer questions about the media of a prefix."""
        engine = self.engine(generation, settings, fidelity=fidelity)
        engine.ask("", prefix, questions)
        return engine.finish()[""]

    def engine(
        self,
        generation: GenerationSpec,
        settings: Sequence[KVSpec] = (FULL,),
        *,
        fidelity: bool = False,
    ) -> VllmEngine:
        """Return what collects questions about several media."""
        return VllmEngine(self._model, self._opener.chat.tokenizer, generation)

    def score(
        self,
        prefix: Prefix,
        questions: Sequence[str],
        continuations: Sequence[Sequence[str]],
        settings: Sequence[KVSpec] = (FULL,),
    ) -> list[list[Likelihoods]]:
        """Refuse: run files that ask for likelihoods are refused before.

        Raises:
            NotImplementedError: always.
        """
        return _only_in_transformers("likelihoods of given texts")

    def classify(
        self, prefix: Prefix, questions: Sequence[str], settings: Sequence[KVSpec] = (FULL,)
    ) -> list[list[Likelihoods]]:
        """Refuse, as `score` does.

        Raises:
            NotImplementedError: always.
        """
        return _only_in_transformers("answers of an adapter's head")

    def inspect(self, visuals: Sequence[Visual], question: str, needs: Any) -> Any:
        """Refuse.

        Raises:
            NotImplementedError: always.
        """
        return _only_in_transformers("statistics of a cache")

    def close(self) -> None:
        """Free the engine's memory."""
        self._model.close()


def _only_in_transformers(what: str) -> NoReturn:
    raise NotImplementedError(f"engine: vllm gives no {what}; write engine: transformers")
