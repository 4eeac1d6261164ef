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
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch

from encodeonce.models.kv.cohort import Cohort, cohort_behind, cohort_of, read
from encodeonce.models.kv.compress import compress
from encodeonce.models.kv.fidelity import fidelities
from encodeonce.models.kv.forks import Fork
from encodeonce.models.kv.prompts import Prompts, needs_of, question_observation
from encodeonce.models.kv.spec import KVSpec
from encodeonce.models.kv.waves import Row, Seat, Wave, choose, decode
from encodeonce.models.language.generation import Answering, Generation, GenerationSpec, ends_of
from encodeonce.models.language.logits_rules import logits_rules
from encodeonce.models.language.prefix import Prefix
from encodeonce.models.timing import synchronize

Scope = Literal["question", "media"]
_FIRST_ROOM = 32
"""Tokens of an answer that there is room for at first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """Questions about the same media."""

    key: Hashable
    prefix: Prefix
    suffixes: Sequence[Sequence[int]]
    """The tokens of each question."""
    prepare_s: float
    """Seconds that ``suffixes`` took."""

    def prompt(self, question: int) -> tuple[int, ...]:
        """Return the token ids of a whole prompt."""
        return (*self.prefix.opening.token_ids, *self.suffixes[question])


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
        self._has_rules = bool(logits_rules(model, 1))
        numbers = range(len(settings))
        self._full = [n for n in numbers if settings[n].is_full and settings[n].scope != "media"]
        others = [n for n in numbers if n not in self._full]
        self._compressed: dict[Scope, Sequence[int]] = {
            "question": [n for n in others if settings[n].scope == "question"],
            "media": [n for n in others if settings[n].scope == "media"],
        }
        self._waves: dict[tuple[int, ...], Wave] = {}
        self._taken: dict[Scope, set[int]] = {"question": set(), "media": set()}
        self._rows: list[Row] = []
        self._done: dict[Hashable, dict[tuple[int, int], Generation]] = {}

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
        asked = _Asked(key=key, prefix=prefix, suffixes=suffixes, prepare_s=prepare_s)
        self._done[key] = {}
        reading: dict[Scope, Callable[[_Asked, Sequence[int], int], None]] = {
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
        waves, self._waves = self._waves, {}
        rows, self._rows = self._rows, []
        self._taken = {"question": set(), "media": set()}
        for numbers, wave in waves.items():
            forks = [seat for seat in wave.seats if seat.forks]
            decode(self._model, wave, has_rules=self._has_rules)
            # The full cache's wave is the first: its answers are there to be compared with.
            for seat in forks:
                self._compare(seat, rows, len(numbers))
        for row in rows:
            kv = None
            if row.num_bytes is not None:
                kv = row.num_bytes.after(len(row.answer.token_ids) - 1, row.num_removed)
            found = row.answer.generation(self._tokenizer, kv)
            self._done[row.key][row.setting, row.question] = replace(found, fidelity=row.fidelity)

    @property
    def waiting_bytes(self) -> int:
        """Of the caches that wait, prefixes included."""
        seats = [seat for wave in self._waves.values() for seat in wave.seats]
        prefixes = {id(seat.prefix): seat.prefix.nbytes for seat in seats}
        return sum(prefixes.values()) + sum(seat.allocated_bytes for seat in seats)

    def _batches(self, asked: _Asked, scope: Scope) -> Iterable[tuple[int, ...]]:
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
        wanted = range(place, place + count)
        is_over = self._max_bytes is not None and self.waiting_bytes > self._max_bytes
        if is_beyond or is_over or not self._taken[scope].isdisjoint(wanted):
            self.flush()
        self._taken[scope].update(wanted)
        return place

    def _read_by_question(self, asked: _Asked, batch: Sequence[int], place: int) -> None:
        """Read questions over the whole prefix; compress copies of it."""
        compressed = self._compressed["question"]
        start = _now()
        token_ids, paddings = self._padded(asked, batch)
        num_tokens = token_ids.shape[1]
        cohort = cohort_behind(asked.prefix, paddings, num_tokens + self._first_room)
        seen = question_observation(self._needs, num_tokens)
        watching = seen.watching(self._model) if compressed else nullcontext()
        logits = read(self._model, cohort, token_ids, watching)
        read_s = _now() - start
        for n in self._full[:1]:
            rows = self._begin(asked, batch, n, logits, keeps_logits=self._fidelity)
            rows[0].answer.spend("prefill", read_s)
            self._wait((n,), self._seat(asked, cohort, rows, [*range(place, place + len(rows))]))
        lengths = [len(asked.suffixes[question]) for question in batch]
        prompts = Prompts(self._model, asked.prefix, seen, lengths) if compressed else None
        for some in self._chunks(compressed):
            assert prompts is not None
            start = _now()
            settings = [self._settings[n] for n in some]
            by_row = [compress(prompts, row, settings) for row in range(len(batch))]
            forks = [fork for of_setting in zip(*by_row, strict=True) for fork in of_setting]
            rows = [row for n in some for row in self._begin(asked, batch, n, logits)]
            self._wait(some, self._fork_seat(asked, forks, rows, place * len(some)))
            self._book(rows, len(batch), "compress", _now() - start)
            if not self._full and some[0] == compressed[0]:
                rows[0].answer.spend("prefill", read_s)

    def _read_by_media(self, asked: _Asked, batch: Sequence[int], place: int) -> None:
        """Read questions, all of the same length, over compressed copies of the prefix."""
        token_ids, _ = self._padded(asked, batch)
        num_tokens = token_ids.shape[1]
        prompts = Prompts(self._model, asked.prefix, None, [num_tokens] * len(batch))
        for some in self._chunks(self._compressed["media"]):
            start = _now()
            compressed = compress(prompts, 0, [self._settings[n] for n in some])
            forks = [fork for fork in compressed for _ in batch]
            offset = asked.prefix.opening.position_offset
            cohort = cohort_of(forks, offset, num_tokens + self._first_room)
            compress_s, start = _now() - start, _now()
            logits = read(self._model, cohort, token_ids.repeat(len(some), 1))
            by_setting = logits.split(len(batch))
            rows = [
                row
                for n, mine in zip(some, by_setting, strict=True)
                for row in self._begin(asked, batch, n, mine)
            ]
            for row, fork in zip(rows, forks, strict=True):
                row.num_bytes = fork.measure(num_tokens)
            first = place * len(some)
            self._wait(some, self._seat(asked, cohort, rows, [*range(first, first + len(rows))]))
            self._book(rows, len(batch), "compress", compress_s)
            self._book(rows, len(batch), "generate", _now() - start)

    def _begin(
        self,
        asked: _Asked,
        batch: Sequence[int],
        setting: int,
        logits: torch.Tensor,
        *,
        keeps_logits: bool = False,
    ) -> list[Row]:
        """Return rows with their first tokens, from logits (B, V)."""
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
            )
            row = Row(
                key=asked.key, question=question, setting=setting, answer=answer, prompt=prompt
            )
            chosen = choose(self._model, row, logits_V) if self._has_rules else token
            answer.write(chosen, logits_V)
            if (setting, question) == (0, 0):
                answer.spend("prepare", asked.prepare_s)
            rows.append(row)
        self._rows += rows
        return rows

    def _fork_seat(
        self, asked: _Asked, forks: Sequence[Fork], rows: Sequence[Row], first: int
    ) -> Seat:
        """Return the seat of forks whose questions have been read."""
        for row, fork in zip(rows, forks, strict=True):
            row.num_bytes = fork.measure(0)
        cohort = None
        if not all(row.answer.has_ended for row in rows):
            cohort = cohort_of(forks, asked.prefix.opening.position_offset, self._first_room)
        seat = self._seat(asked, cohort, rows, [*range(first, first + len(rows))])
        seat.forks = forks if self._fidelity else ()
        return seat

    def _seat(
        self, asked: _Asked, cohort: Cohort | None, rows: Sequence[Row], places: Sequence[int]
    ) -> Seat:
        if all(row.answer.has_ended for row in rows):
            cohort = None
        return Seat(prefix=asked.prefix, cohort=cohort, places=places, rows=rows)

    def _wait(self, settings: Sequence[int], seat: Seat) -> None:
        """Let rows wait for the others that are decoded together under these settings."""
        num_places = self._generation.max_batch * len(settings)
        wave = self._waves.setdefault(tuple(settings), Wave(num_places=num_places))
        wave.seats.append(seat)

    def _compare(self, seat: Seat, rows: Sequence[Row], num_settings: int) -> None:
        """Measure how a seat's caches continue the full cache's answers."""
        start = _now()
        full = {(row.key, row.question): row.answer for row in rows if row.setting in self._full}
        answers = [full[row.key, row.question] for row in seat.rows]
        close = fidelities(self._model, seat.prefix, seat.forks, answers)
        for row, one in zip(seat.rows, close, strict=True):
            row.fidelity = one
        self._book(seat.rows, len(seat.rows) // num_settings, "compare", _now() - start)

    def _book(self, rows: Sequence[Row], num_rows: int, stage: str, seconds: float) -> None:
        """Book seconds evenly on some settings, each with ``num_rows`` rows: on their first."""
        firsts = rows[::num_rows]
        for row in firsts:
            row.answer.spend(stage, seconds / len(firsts))

    def _padded(self, asked: _Asked, batch: Sequence[int]) -> tuple[torch.Tensor, list[int]]:
        """Return questions (B, longest), padded on the left, and how much each is."""
        some = [list(asked.suffixes[question]) for question in batch]
        longest = max(map(len, some))
        paddings = [longest - len(suffix) for suffix in some]
        filled = [
            [*suffix[:1] * count, *suffix] for suffix, count in zip(some, paddings, strict=True)
        ]
        return torch.tensor(filled, device=self._model.device), paddings

    def _chunks(self, settings: Sequence[int]) -> Iterator[tuple[int, ...]]:
        """Yield settings whose forks are decoded together."""
        size = max(1, self._generation.max_forks // self._generation.max_batch)
        for start in range(0, len(settings), size):
            yield tuple(settings[start : start + size])

    @property
    def _first_room(self) -> int:
        return min(self._generation.max_new_tokens, _FIRST_ROOM)


def batches(
    suffixes: Sequence[Sequence[int]], max_batch: int, same_length: bool
) -> Iterator[tuple[int, ...]]:
    """Yield the numbers of questions to read together, in an order that depends only on them.

    None is padded to more than twice its length and 64 tokens, so that one long question does not
    make many short ones as expensive as itself.

    Args:
        suffixes: tokens of each question.
        max_batch: most questions in a batch.
        same_length: whether to avoid padding altogether.
    """
    batch: list[int] = []
    for n in sorted(range(len(suffixes)), key=lambda n: (len(suffixes[n]), list(suffixes[n]))):
        shortest = len(suffixes[batch[0]]) if batch else len(suffixes[n])
        most = shortest if same_length else 2 * shortest + 64
        if len(batch) == max_batch or len(suffixes[n]) > most:
            yield tuple(batch)
            batch = []
        batch.append(n)
    if batch:
        yield tuple(batch)


def _now() -> float:
    synchronize()
    return time.perf_counter()
