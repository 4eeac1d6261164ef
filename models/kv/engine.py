"""The decode engine: answers questions about many media under many settings, in few batches.

Questions are read group by group, in batches that follow from the group's questions alone; then
their rows wait. Once there is no place left, memory runs out or all has been read, they are decoded
together: uncompressed rows in one running batch, those of each chunk of settings in another. A
row's place follows from its group's place, the group's questions and the settings; so neither what
else is decoded nor how often the engine is flushed changes a bit of an answer.

Settings of scope "question" compress copies of what their questions' pass has read. Settings of
scope "media" compress the prefix before any question is read, and read the questions over what is
left.

Shapes: B questions, R forks, V vocabulary.
"""

import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import torch

from encodeonce.models.answer import Generation
from encodeonce.models.kv.asked import Asked, batches
from encodeonce.models.kv.cohort import Cohort, cohort_behind, cohort_of, read
from encodeonce.models.kv.comparing import Comparing
from encodeonce.models.kv.compress import compress
from encodeonce.models.kv.forks import Fork
from encodeonce.models.kv.kernels.recording import recorder_for
from encodeonce.models.kv.prompts import Prompts, needs_of, question_observation
from encodeonce.models.kv.seating import Scope, Seating
from encodeonce.models.kv.spec import KVSpec
from encodeonce.models.kv.waves import Row, Seat, choose, decode
from encodeonce.models.language.generation import Answering, ends_of
from encodeonce.models.language.logits_rules import logits_rules
from encodeonce.models.language.prefix import Prefix
from encodeonce.models.spec import GenerationSpec
from encodeonce.models.timing import synchronize

_FIRST_ROOM = 32
"""Tokens of an answer that there is room for at first."""


class DecodeEngine:
    """Reads questions one group at a time, and decodes their answers together."""

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        settings: Sequence[KVSpec],
        generation: GenerationSpec,
        *,
        fidelity: bool = False,
        max_bytes: int | None = None,
    ) -> None:
        """Make an engine in which nothing waits.

        Args:
            model: of transformers.
            tokenizer: its tokenizer.
            settings: cache variants, of every question.
            generation: how to generate.
            fidelity: whether the full cache's answers are also teacher-forced through every
                compressed cache; `full` has to be among the settings.
            max_bytes: of caches that wait, prefixes included, above which they are decoded. What
                one batch of questions needs is needed in any case. None for no limit.
        """
        self._model, self._tokenizer = model, tokenizer
        self._settings, self._generation = settings, generation
        self._fidelity, self._max_bytes = fidelity, max_bytes
        self._needs = needs_of(settings)
        self._ends = ends_of(model)
        self._recorder = recorder_for(model.device, is_wanted=generation.cuda_graphs)
        numbers = range(len(settings))
        self._full = [n for n in numbers if settings[n].is_full and settings[n].scope != "media"]
        others = [n for n in numbers if n not in self._full]
        self._compressed: dict[Scope, Sequence[int]] = {
            "question": [n for n in others if settings[n].scope == "question"],
            "media": [n for n in others if settings[n].scope == "media"],
        }
        self._seating = Seating(generation.max_batch)
        self._done: dict[Hashable, dict[tuple[int, int], Generation]] = {}
        self._comparing = Comparing(model)

    def ask(self, key: Hashable, prefix: Prefix, questions: Sequence[str], place: int = 0) -> None:
        """Read questions about the same media. Their rows may have to wait for others'.

        Args:
            key: to find the answers by.
            prefix: prefilled for the engine's settings.
            questions: texts of the prompts, without media; at least one.
            place: the first of the places that the rows take in the running batch.

        Raises:
            PrefixError: a prompt does not begin with the prefix.
            ValueError: a question contains a placeholder.
        """
        start = time.perf_counter()
        suffixes = [prefix.suffix(question) for question in questions]
        prepare_s = time.perf_counter() - start
        asked = Asked(key=key, prefix=prefix, suffixes=suffixes, prepare_s=prepare_s)
        self._done[key] = {}
        self._comparing.begin(key)
        reading: dict[Scope, Callable[[Asked, Sequence[int], int], None]] = {
            "question": self._read_by_question,
            "media": self._read_by_media,
        }
        for scope, read_batch in reading.items():
            at = place
            for batch in self._batches(asked, scope):
                at = self._room_for(scope, at, len(batch))
                read_batch(asked, batch, at)
                at += len(batch)

    def finish(self) -> dict[Hashable, list[list[Generation]]]:
        """Return all answers since the last call: by key, by setting, in the questions' order."""
        self.flush()
        done, self._done = self._done, {}
        numbers = range(len(self._settings))
        return {
            key: [[answers[n, q] for q in sorted({q for _, q in answers})] for n in numbers]
            for key, answers in done.items()
        }

    def flush(self) -> None:
        """Decode all rows that wait."""
        seating, self._seating = self._seating, Seating(self._generation.max_batch)
        if self._fidelity:
            self._comparing.expect([row for row in seating.rows if row.setting in self._full])
        for numbers, wave in seating.waves.items():
            forks = [seat for seat in wave.seats if seat.forks]
            decode(self._model, wave, self._recorder)
            # The full cache's wave is the first: its answers are there to be compared with.
            for seat in forks:
                start = _now()
                self._comparing.compare(seat)
                self._book(seat.rows, len(seat.rows) // len(numbers), "compare", _now() - start)
        self._comparing.forget()
        for row in seating.rows:
            kv = None
            if row.num_bytes is not None:
                kv = row.num_bytes.after(len(row.answer.token_ids) - 1, row.num_removed)
            found = row.answer.generation(self._tokenizer, kv)
            self._done[row.key][row.setting, row.question] = replace(found, fidelity=row.fidelity)

    def _batches(self, asked: Asked, scope: Scope) -> Iterable[tuple[int, ...]]:
        """Return the numbers of the questions to read together; none if no setting needs it."""
        if not (self._compressed[scope] or (scope == "question" and self._full)):
            return ()
        same_length = scope == "media" or asked.prefix.is_sliding
        return batches(asked.suffixes, self._generation.max_batch, same_length)

    def _room_for(self, scope: Scope, place: int, count: int) -> int:
        """Return where some rows begin, after decoding those that are in the way."""
        is_beyond = place + count > self._generation.max_batch
        if is_beyond:
            place = 0
        is_over = self._max_bytes is not None and self._seating.nbytes > self._max_bytes
        if is_beyond or is_over or not self._seating.is_free(scope, place, count):
            self.flush()
        self._seating.take(scope, place, count)
        return place

    def _read_by_question(self, asked: Asked, batch: Sequence[int], place: int) -> None:
        """Read questions over the whole prefix; compress copies of it."""
        compressed = self._compressed["question"]
        start = _now()
        token_ids, paddings = asked.padded(batch, self._model.device)
        num_tokens = token_ids.shape[1]
        cohort = cohort_behind(asked.prefix, paddings, num_tokens + self._first_room)
        seen = question_observation(self._needs, num_tokens)
        watching = seen.watching(self._model) if compressed else nullcontext()
        logits = read(self._model, cohort, token_ids, watching)
        read_s = _now() - start
        for n in self._full[:1]:
            rows = self._begin(asked, batch, n, logits, keeps_logits=self._fidelity)
            rows[0].answer.spend("prefill", read_s)
            self._seating.wait((n,), self._seat(asked, cohort, rows, place))
        lengths = [len(asked.suffixes[question]) for question in batch]
        prompts = Prompts(self._model, asked.prefix, seen, lengths) if compressed else None
        for some in self._chunks(compressed):
            assert prompts is not None
            start = _now()
            settings = [self._settings[n] for n in some]
            by_row = [compress(prompts, row, settings) for row in range(len(batch))]
            forks = [fork for of_setting in zip(*by_row, strict=True) for fork in of_setting]
            rows = [row for n in some for row in self._begin(asked, batch, n, logits)]
            self._seating.wait(some, self._fork_seat(asked, forks, rows, place * len(some)))
            self._book(rows, len(batch), "compress", _now() - start)
            if not self._full and some[0] == compressed[0]:
                rows[0].answer.spend("prefill", read_s)

    def _read_by_media(self, asked: Asked, batch: Sequence[int], place: int) -> None:
        """Read questions, all of the same length, over compressed copies of the prefix."""
        token_ids, _ = asked.padded(batch, self._model.device)
        num_tokens = token_ids.shape[1]
        prompts = Prompts(self._model, asked.prefix, None, [num_tokens] * len(batch))
        for some in self._chunks(self._compressed["media"]):
            start = _now()
            compressed = compress(prompts, 0, [self._settings[n] for n in some])
            forks = [fork for fork in compressed for _ in batch]
            offset = asked.prefix.opening.position_offset
            cohort = cohort_of(forks, offset, num_tokens + self._first_room)
            compress_s, start = _now() - start, _now()
            logits = read(self._model, cohort, token_ids.repeat(len(some), 1), nullcontext())
            by_setting = logits.split(len(batch))
            rows = [
                row
                for n, mine in zip(some, by_setting, strict=True)
                for row in self._begin(asked, batch, n, mine)
            ]
            for row, fork in zip(rows, forks, strict=True):
                row.num_bytes = fork.measure(num_tokens)
            seat = self._seat(asked, cohort, rows, place * len(some))
            if self._fidelity:
                seat.forks, seat.questions = forks, token_ids.repeat(len(some), 1).tolist()
            self._seating.wait(some, seat)
            self._book(rows, len(batch), "compress", compress_s)
            self._book(rows, len(batch), "generate", _now() - start)

    def _begin(
        self,
        asked: Asked,
        batch: Sequence[int],
        setting: int,
        logits: torch.Tensor,
        *,
        keeps_logits: bool = False,
    ) -> list[Row]:
        """Return rows with their first tokens, from logits (B, V)."""
        logits = logits.to("cpu")  # once, as all of them are digested there
        likeliest = logits.argmax(-1).tolist()
        rows = []
        for question, logits_V, token in zip(batch, logits, likeliest, strict=True):
            prompt = asked.prompt(question)
            answer = Answering(
                self._ends,
                self._generation.max_new_tokens,
                len(prompt),
                asked.prefix.opening.num_visual_units,
                keeps_logits=keeps_logits,
                num_prefix_tokens=asked.prefix.num_tokens,
            )
            row = Row(
                key=asked.key,
                question=question,
                setting=setting,
                answer=answer,
                prompt=prompt,
                rules=logits_rules(self._model, len(prompt)),
            )
            chosen = choose(row, logits_V) if row.rules else token
            answer.write(chosen, logits_V)
            if (setting, question) == (0, 0):
                answer.spend("prepare", asked.prepare_s)
            rows.append(row)
        self._seating.rows += rows
        return rows

    def _fork_seat(
        self, asked: Asked, forks: Sequence[Fork], rows: Sequence[Row], first: int
    ) -> Seat:
        """Return the seat of forks whose questions have been read."""
        for row, fork in zip(rows, forks, strict=True):
            row.num_bytes = fork.measure(0)
        cohort = None
        if not all(row.answer.has_ended for row in rows):
            cohort = cohort_of(forks, asked.prefix.opening.position_offset, self._first_room)
        seat = self._seat(asked, cohort, rows, first)
        seat.forks = forks if self._fidelity else ()
        return seat

    def _seat(self, asked: Asked, cohort: Cohort | None, rows: Sequence[Row], first: int) -> Seat:
        if all(row.answer.has_ended for row in rows):
            cohort = None
        places = range(first, first + len(rows))
        return Seat(prefix=asked.prefix, cohort=cohort, places=places, rows=rows)

    def _book(self, rows: Sequence[Row], num_rows: int, stage: str, seconds: float) -> None:
        """Book seconds evenly on some settings, each with ``num_rows`` rows: on their first."""
        firsts = rows[::num_rows]
        for row in firsts:
            row.answer.spend(stage, seconds / len(firsts))

    def _chunks(self, settings: Sequence[int]) -> Iterator[tuple[int, ...]]:
        """Yield settings whose forks are decoded together."""
        size = max(1, self._generation.max_forks // self._generation.max_batch)
        for start in range(0, len(settings), size):
            yield tuple(settings[start : start + size])

    @property
    def _first_room(self) -> int:
        return min(self._generation.max_new_tokens, _FIRST_ROOM)


def _now() -> float:
    synchronize()
    return time.perf_counter()
