"""What is answered under several adapters: prompts of stored features, by one plain loop.

The loop is the same for every way: a prefill, then steps of one given token each. Tokens are given,
so that all ways compute the same, and their log-probabilities can be compared.

Shapes: N rows, P tokens of a prompt, T given tokens, V vocabulary, H width.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from transformers import DynamicCache

from encodeonce.harness.bench.adapters.ways import Numbers, Way
from encodeonce.models.timing import synchronize


@dataclass(slots=True, kw_only=True)
class Taken:
    """Seconds of a batch, or of several."""

    switch_s: float = 0.0
    prefill_s: float = 0.0
    steps_s: list[float] = field(default_factory=list)
    """Of each decode step, summed over batches."""

    def add(self, other: "Taken") -> None:
        """Add another batch's."""
        self.switch_s += other.switch_s
        self.prefill_s += other.prefill_s
        if not self.steps_s:
            self.steps_s = list(other.steps_s)
        else:
            pairs = zip(self.steps_s, other.steps_s, strict=True)
            self.steps_s = [a + b for a, b in pairs]

    def makespan_s(self, num_tokens: int) -> float:
        """Return the seconds until so many tokens of each answer are there."""
        return self.switch_s + self.prefill_s + sum(self.steps_s[: num_tokens - 1])


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What a batch's rows have written."""

    log_probs: torch.Tensor
    """(N, T) of the given tokens."""
    likeliest: torch.Tensor
    """(N, T) the tokens that would have been chosen."""


class Prompt:
    """A prompt whose beginning is a picture's features, as embeddings."""

    def __init__(
        self, model: Any, inputs: dict[str, Any], num_tokens: int | None, num_given: int
    ) -> None:
        """Embed a prompt.

        Args:
            model: of transformers.
            inputs: the arguments of its forward for the prompt.
            num_tokens: P; the prompt's last tokens are left out. None for all.
            num_given: T.
        """
        embedded = _embedded(model, inputs)
        self._embeds = embedded if num_tokens is None else embedded[:, :num_tokens]
        self._config = model.config.get_text_config()
        noise = torch.Generator().manual_seed(0)
        vocabulary = model.get_input_embeddings().weight.shape[0]
        self._noise, self._vocabulary, self._num_given = noise, vocabulary, num_given
        self._rows: list[torch.Tensor] = []

    @property
    def num_tokens(self) -> int:
        """P."""
        return self._embeds.shape[1]

    def given(self, row: int) -> torch.Tensor:
        """Return the tokens (T,) of a row of the job; the same whenever they are asked for."""
        while len(self._rows) <= row:
            size = (self._num_given,)
            self._rows.append(torch.randint(self._vocabulary, size, generator=self._noise))
        return self._rows[row]

    def answer(
        self, way: Way, numbers: Numbers, first_row: int, clock: Callable[[], float]
    ) -> tuple[Taken, Written]:
        """Answer a batch, timing its parts."""
        rows = range(first_row, first_row + len(numbers))
        given = torch.stack([self.given(row) for row in rows]).to(self._embeds.device)
        embeds = self._embeds.expand(len(numbers), -1, -1).contiguous()
        taken = Taken()
        found = []
        with torch.inference_mode():
            taken.switch_s = _timed(clock, lambda: way.switch(numbers))
            cache = DynamicCache(config=self._config)

            def step(**inputs: torch.Tensor) -> None:
                with way.under(numbers):
                    output = way.call(
                        **inputs,
                        past_key_values=cache,
                        use_cache=True,
                        logits_to_keep=1,
                        **way.arguments(numbers),
                    )
                found.append(output.logits[:, -1])

            taken.prefill_s = _timed(clock, lambda: step(inputs_embeds=embeds))
            for number in range(self._num_given - 1):
                token = given[:, number : number + 1]
                taken.steps_s.append(_timed(clock, partial(step, input_ids=token)))
        logits = torch.stack(found, dim=1).float()  # (N, T, V)
        log_probs = logits.log_softmax(-1).gather(-1, given[:, :, None])[:, :, 0]
        return taken, Written(log_probs=log_probs, likeliest=logits.argmax(-1))


def written_by(written: Sequence[Written]) -> Written:
    """Return what several batches have written, row after row."""
    return Written(
        log_probs=torch.cat([one.log_probs for one in written]),
        likeliest=torch.cat([one.likeliest for one in written]),
    )


def _timed(clock: Callable[[], float], work: Callable[[], Any]) -> float:
    synchronize()
    start = clock()
    work()
    synchronize()
    return clock() - start


class _Embedded(Exception):
    """Ends a pass once the embeddings are known."""


def _embedded(model: Any, inputs: dict[str, Any]) -> torch.Tensor:
    """Return the embeddings (1, P, H) of a prompt, its features spliced in."""
    found: list[torch.Tensor] = []

    def take(module: Any, args: Any, kwargs: dict[str, Any]) -> None:
        embedded = kwargs.get("inputs_embeds")
        if embedded is None:
            embedded = model.get_input_embeddings()(kwargs["input_ids"])
        found.append(embedded)
        raise _Embedded

    handle = model.get_decoder().register_forward_pre_hook(take, with_kwargs=True)
    try:
        with torch.inference_mode():
            model(**inputs)
    except _Embedded:
        pass
    finally:
        handle.remove()
    return found[0]
