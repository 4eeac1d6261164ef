"""Gives a block's questions to vLLM, which batches them as it likes, and collects the answers."""

import itertools
import time
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from encodeonce.models.answer import NUM_FIRST_LOGITS, Generation
from encodeonce.models.language.prefix import Prefix
from encodeonce.models.spec import GenerationSpec
from encodeonce.models.vllm.inputs import engine_input
from encodeonce.models.vllm.model import VllmModel

_NUMBERS = itertools.count()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    key: Hashable
    prefix: Prefix
    token_ids: Sequence[int]
    """Of the whole prompt."""


class VllmEngine:
    """Collects questions about several media; vLLM answers them when the last one is asked."""

    def __init__(self, model: VllmModel, tokenizer: Any, generation: GenerationSpec) -> None:
        """Make an engine in which nothing waits."""
        self._model, self._tokenizer, self._generation = model, tokenizer, generation
        self._asked: dict[str, _Asked] = {}

    def ask(self, key: Hashable, prefix: Prefix, questions: Sequence[str], place: int = 0) -> None:
        """Take questions about the same media.

        Args:
            key: to find the answers by.
            prefix: of these media, which vLLM computes when it is first needed.
            questions: texts of the prompts, without media; at least one.
            place: of no meaning here: vLLM gives places as it likes.

        Raises:
            PrefixError: a prompt does not begin with the prefix.
            ValueError: a question contains a placeholder.
        """
        for question in questions:
            token_ids = [*prefix.opening.token_ids, *prefix.suffix(question)]
            # In the order asked, which is the plan's: prefixes are found while they are there.
            self._asked[f"{next(_NUMBERS)}"] = _Asked(key=key, prefix=prefix, token_ids=token_ids)

    def finish(self) -> dict[Hashable, list[list[Generation]]]:
        """Return all answers since the last call: by key, in the questions' order.

        vLLM answers under one setting, so there is one list under each key.
        """
        asked, self._asked = self._asked, {}
        start = time.perf_counter()
        parameters = self._model.sampling(self._generation.max_new_tokens, NUM_FIRST_LOGITS)
        requests = {
            name: (engine_input(one.token_ids, one.prefix.opening.inputs["items"]), one.prefix)
            for name, one in asked.items()
        }
        outputs = self._model.run(requests, parameters)
        each_s = (time.perf_counter() - start) / max(1, len(asked))
        found: dict[Hashable, list[list[Generation]]] = {}
        for name, one in asked.items():
            found.setdefault(one.key, [[]])[0].append(self._generated(one, outputs[name], each_s))
        return found

    def _generated(self, one: _Asked, output: Any, seconds: float) -> Generation:
        (answer,) = output.outputs
        first = answer.logprobs[0] if answer.logprobs else {}
        largest = sorted(first.items(), key=lambda pair: -pair[1].logprob)[:NUM_FIRST_LOGITS]
        return Generation(
            text=self._tokenizer.decode(answer.token_ids, skip_special_tokens=True).strip(),
            token_ids=tuple(answer.token_ids),
            logits_sha256=None,
            first_logits={token: score.logprob for token, score in largest},
            num_visual_units=one.prefix.opening.num_visual_units,
            num_prompt_tokens=len(one.token_ids),
            num_prefix_tokens=one.prefix.num_tokens,
            num_cached_tokens=output.num_cached_tokens or 0,
            seconds={"generate": seconds},
        )
