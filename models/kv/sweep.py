"""Answers questions on the same media under all cache variants, from one prefill.

Settings of scope "question" share the question's pass over the prefix and its statistics; each
compresses its own copy, and all copies are decoded as one batch. Settings of scope "media" compress
the prefix before any question is read, and read the questions over what is left.

Shapes: B questions, R forks, K heads of keys, N tokens of a prompt, V vocabulary.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from encodeonce.models.kv.compress import can_stream, compress, compress_layers, fork_of
from encodeonce.models.kv.fidelity import fidelities
from encodeonce.models.kv.forks import Fork, KVLayer, decoding, ragged_cache
from encodeonce.models.kv.prompts import Prompts, needs_of, question_observation
from encodeonce.models.kv.spec import KVSpec
from encodeonce.models.language.generation import (
    Fidelity,
    Generation,
    GenerationSpec,
    Greedy,
    generations,
    greedy,
    until_end,
)
from encodeonce.models.language.prefix import Prefix, continued
from encodeonce.models.timing import Stopwatch, sum_seconds, synchronize


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Prompts of B questions on the same media, padded between prefix and question."""

    input_ids: torch.Tensor
    """(B, longest)."""
    attention_mask: torch.Tensor
    """(B, longest)."""
    num_question_tokens: Sequence[int]

    @property
    def longest(self) -> int:
        """Tokens of the longest prompt."""
        return self.input_ids.shape[1]

    def inputs(self, cache: Any) -> dict[str, Any]:
        """Return the arguments with which ``generate`` continues from a cache."""
        return {
            "input_ids": self.input_ids,
            "attention_mask": self.attention_mask,
            "past_key_values": cache,
        }

    def rows(self, rows: Sequence[int], first_tokens: Sequence[int] = ()) -> "Batch":
        """Return some rows, repeated if need be, each followed by a token if given."""
        ids, mask = self.input_ids[list(rows)], self.attention_mask[list(rows)]
        if first_tokens:
            more = torch.tensor(first_tokens, device=ids.device)[:, None]
            ids = torch.cat([ids, more], dim=1)
            mask = torch.cat([mask, torch.ones_like(more)], dim=1)
        lengths = [self.num_question_tokens[row] for row in rows]
        return Batch(input_ids=ids, attention_mask=mask, num_question_tokens=lengths)


class Sweep:
    """Answers questions under several settings, from one prefix."""

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        prefix: Prefix,
        settings: Sequence[KVSpec],
        generation: GenerationSpec,
    ) -> None:
        """Take a prefix that was prefilled with `prefix_observation`."""
        self._model, self._tokenizer, self._prefix = model, tokenizer, prefix
        self._settings, self._generation = settings, generation
        self._needs = needs_of(settings)

    def by_question(self, batch: Batch, *, fidelity: bool) -> dict[int, list[Generation]]:
        """Return answers under the full cache and settings of scope "question", by number."""
        settings = self._settings
        wanted = [n for n, s in enumerate(settings) if s.scope == "question"]
        compressed = [n for n in wanted if not settings[n].is_full]
        full = [n for n in wanted if settings[n].is_full]
        if not compressed:
            return self._uncompressed(batch, full)
        if not full and all(can_stream(settings[n]) for n in compressed):
            return self._streamed(batch, compressed)
        return self._in_two_phases(batch, full, compressed, fidelity)

    def _uncompressed(self, batch: Batch, numbers: Sequence[int]) -> dict[int, list[Generation]]:
        """Answer from the full cache alone, without observation."""
        if not numbers:
            return {}
        cache = self._prefix.fork(len(batch.num_question_tokens))
        with continued(self._model, self._prefix):
            found = greedy(self._model, batch.inputs(cache), self._generation.max_new_tokens)
        return {n: self._generations(found, batch) for n in numbers}

    def _in_two_phases(
        self, batch: Batch, full: Sequence[int], compressed: Sequence[int], fidelity: bool
    ) -> dict[int, list[Generation]]:
        """Prefill the questions over the full cache, then compress copies of it."""
        lengths = batch.num_question_tokens
        seen = question_observation(self._needs, self._prefix, max(lengths))
        with continued(self._model, self._prefix), seen.watching(self._model):
            found = greedy(
                self._model,
                batch.inputs(self._prefix.fork(len(lengths))),
                self._generation.max_new_tokens if full else 1,
            )
        prompts = Prompts(self._model, self._prefix, seen, lengths)
        answers = {n: self._generations(found, batch) for n in full}
        for some in self._chunks(compressed, len(lengths)):
            start = _now()
            by_row = [
                compress(prompts, row, [self._settings[n] for n in some])
                for row in range(len(lengths))
            ]
            forks = [fork for of_setting in zip(*by_row, strict=True) for fork in of_setting]
            compress_s = _now() - start
            answers.update(self._forked(batch, forks, found, some, compress_s, fidelity))
        if not full:
            _book(answers[compressed[0]], found.seconds)
        return answers

    def _streamed(self, batch: Batch, numbers: Sequence[int]) -> dict[int, list[Generation]]:
        """Compress each layer as soon as its attention is computed: no full cache is ever held."""
        lengths = batch.num_question_tokens
        settings = [self._settings[n] for n in numbers]
        cells = [(n, row) for n in numbers for row in range(len(lengths))]
        layers: dict[tuple[int, int], list[KVLayer]] = {cell: [] for cell in cells}
        seen = question_observation(self._needs, self._prefix, max(lengths))
        prompts = Prompts(self._model, self._prefix, seen, lengths)
        cache = self._prefix.fork(len(lengths))
        watch = Stopwatch()

        def behind(number: int) -> None:
            with watch.stage("compress"):
                for row in range(len(lengths)):
                    found = compress_layers(prompts, row, settings, [number])
                    for n, one in zip(numbers, found, strict=True):
                        layers[n, row] += one
                prompts.forget(number)
                layer: Any = cache.layers[number]
                # Copies: a view would keep the whole tensor alive.
                layer.keys = layer.keys[:, :, :0].clone()
                layer.values = layer.values[:, :, :0].clone()

        with continued(self._model, self._prefix), seen.watching(self._model, behind):
            first = greedy(self._model, batch.inputs(cache), 1)
        compress_s = watch.take().get("compress", 0.0)
        answers = {}
        for some in self._chunks(numbers, len(lengths)):
            forks = [
                fork_of(prompts, row, self._settings[n], layers.pop((n, row)))
                for n in some
                for row in range(len(lengths))
            ]
            share_s = compress_s * len(some) / len(numbers)
            answers.update(self._forked(batch, forks, first, some, share_s, fidelity=False))
        prefill_s = sum(first.seconds.values()) - compress_s
        _book(answers[numbers[0]], {"prefill": prefill_s})
        return answers

    def by_media(self, batch: Batch) -> dict[int, list[Generation]]:
        """Answer under the settings of scope "media"; all questions of the same length."""
        wanted = [n for n, s in enumerate(self._settings) if s.scope == "media"]
        prompts = Prompts(self._model, self._prefix, None, batch.num_question_tokens)
        num_rows = len(batch.num_question_tokens)
        answers = {}
        for some in self._chunks(wanted, num_rows):
            start = _now()
            compressed = compress(prompts, 0, [self._settings[n] for n in some])
            forks = [fork for fork in compressed for _ in range(num_rows)]
            room = batch.num_question_tokens[0] + self._generation.max_new_tokens
            cache = ragged_cache(forks, self._prefix.num_tokens, room)
            compress_s = _now() - start
            repeated = batch.rows([*range(num_rows)] * len(some))
            with continued(self._model, self._prefix), decoding(self._model, cache, forks):
                found = greedy(self._model, repeated.inputs(cache), self._generation.max_new_tokens)
            results = self._generations(replace(found, seconds={}), repeated)
            for place, setting in enumerate(some):
                mine = slice(place * num_rows, (place + 1) * num_rows)
                answers[setting] = [
                    replace(
                        one,
                        kv=fork.use(
                            num_fed=len(one.token_ids) - 1,
                            num_removed=_removed(cache.removed.get(row), len(one.token_ids) - 1),
                            num_more=batch.num_question_tokens[0],
                        ),
                    )
                    for row, (one, fork) in enumerate(
                        zip(results[mine], forks[mine], strict=True), mine.start
                    )
                ]
                # Each setting reads the questions over its own prefix: nothing here is shared.
                own = {"generate": sum(found.seconds.values()), "compress": compress_s}
                _book(answers[setting], {name: value / len(some) for name, value in own.items()})
        return answers

    def _forked(
        self,
        batch: Batch,
        forks: Sequence[Fork],
        full: Greedy,
        settings: Sequence[int],
        compress_s: float,
        fidelity: bool,
    ) -> dict[int, list[Generation]]:
        """Decode the forks of some settings as one batch."""
        num_rows = len(batch.num_question_tokens)
        rows = [*range(num_rows)] * len(settings)
        first = [full.token_ids[row][0] for row in rows]
        found, removed, seconds = self._decode(batch.rows(rows, first), forks, full, rows)
        results = self._generations(found, batch.rows(rows))
        close: Sequence[Fidelity | None] = [None] * len(forks)
        own = {"compress": compress_s, "generate": seconds}
        if fidelity:
            start = _now()
            close = fidelities(self._model, self._prefix, batch.longest, forks, full, rows)
            own["compare"] = _now() - start
        answers: dict[int, list[Generation]] = {}
        for n, (one, fork) in enumerate(zip(results, forks, strict=True)):
            num_fed = len(one.token_ids) - 1
            use = fork.use(
                num_fed=num_fed, num_removed=_removed(removed.get(n), num_fed), num_more=0
            )
            answered = replace(one, kv=use, fidelity=close[n])
            answers.setdefault(settings[n // num_rows], []).append(answered)
        for setting in settings:
            _book(answers[setting], {k: v / len(settings) for k, v in own.items()})
        return answers

    def _decode(
        self, batch: Batch, forks: Sequence[Fork], full: Greedy, rows: Sequence[int]
    ) -> tuple[Greedy, Mapping[int, list[int]], float]:
        """Return the forks' tokens and logits; the first ones are the full cache's."""
        eos = self._model.generation_config.eos_token_id
        first = batch.input_ids[:, -1].tolist()
        logits = [full.logits[0][list(rows)]]
        rest: Sequence[list[int]] = [[] for _ in rows]
        removed: Mapping[int, list[int]] = {}
        start = _now()
        num_more = self._generation.max_new_tokens - 1
        if num_more and any(until_end([token, token], eos) == [token, token] for token in first):
            cache = ragged_cache(forks, batch.longest - 1, num_more)
            with continued(self._model, self._prefix), decoding(self._model, cache, forks):
                more = greedy(self._model, batch.inputs(cache), num_more)
            rest, removed = more.token_ids, cache.removed
            logits += more.logits
        token_ids = [
            until_end([token, *others], eos) for token, others in zip(first, rest, strict=True)
        ]
        found = Greedy(token_ids=token_ids, logits=logits, seconds={})
        return found, removed, _now() - start

    def _chunks(self, numbers: Sequence[int], num_rows: int) -> Iterator[Sequence[int]]:
        """Yield groups of settings whose forks are decoded together."""
        size = max(1, self._generation.max_forks // num_rows)
        for start in range(0, len(numbers), size):
            yield numbers[start : start + size]

    def _generations(self, found: Greedy, batch: Batch) -> list[Generation]:
        num_prefix = self._prefix.num_tokens
        lengths = [num_prefix + count for count in batch.num_question_tokens]
        return generations(self._tokenizer, found, lengths, self._prefix.opening.num_visual_units)


def _removed(history: Sequence[int] | None, num_fed: int) -> int:
    """Return how many entries a row had removed after ``num_fed`` tokens."""
    return history[min(num_fed, len(history)) - 1] if history and num_fed else 0


def _book(answers: list[Generation], seconds: Mapping[str, float]) -> None:
    """Add seconds to the first of some answers."""
    total = sum_seconds([answers[0].seconds, seconds])
    answers[0] = replace(answers[0], seconds=total)


def _now() -> float:
    synchronize()
    return time.perf_counter()
