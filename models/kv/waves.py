"""Waves: rows of several groups that are decoded as one running batch, from first token to last."""

import time
from collections import deque
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import LogitsProcessorList

from encodeonce.models.answer import Fidelity
from encodeonce.models.kv.cohort import Cohort
from encodeonce.models.kv.forks import Fork, ForkBytes
from encodeonce.models.kv.kernels.recording import Recorder
from encodeonce.models.kv.kernels.transfer import Download
from encodeonce.models.kv.running_batch import RunningBatch
from encodeonce.models.language.generation import Answering
from encodeonce.models.language.prefix import Prefix


@dataclass(slots=True, kw_only=True)
class Row:
    """One question under one setting, while it is answered."""

    key: Hashable
    """Of its group."""
    question: int
    setting: int
    answer: Answering
    prompt: Sequence[int]
    """Token ids of the whole prompt."""
    rules: LogitsProcessorList
    """Of the model's generation config; with none, the likeliest token is the next."""
    num_bytes: ForkBytes | None = None
    """Of its compressed cache."""
    num_removed: int = 0
    """Entries that its method has removed while decoding."""
    fidelity: Fidelity | None = None


@dataclass(slots=True, kw_only=True)
class Seat:
    """Rows of a group that wait to be decoded."""

    prefix: Prefix
    cohort: Cohort | None
    """None if all rows have ended with their first token."""
    places: Sequence[int]
    rows: Sequence[Row]
    forks: Sequence[Fork] = ()
    """Kept only where fidelity is to be measured."""
    questions: Sequence[Sequence[int]] | None = None
    """Tokens of each row's question, kept with forks that were made before it was read."""

    @property
    def allocated_bytes(self) -> int:
        """Of the rows' own caches."""
        return 0 if self.cohort is None else self.cohort.cache.allocated_bytes


@dataclass(slots=True, kw_only=True)
class Wave:
    """What is decoded as one batch."""

    num_places: int
    seats: list[Seat] = field(default_factory=list)


def choose(row: Row, logits_V: torch.Tensor) -> int:
    """Return the next token of an answer under its rules, which are for logits on the host."""
    so_far: Any = torch.tensor([[*row.prompt, *row.answer.token_ids]])
    scores: Any = logits_V[None].to("cpu", copy=True)
    return int(row.rules(so_far, scores).argmax())


def decode(model: Any, wave: Wave, recorder: Recorder | None = None) -> None:
    """Write all rows' answers to their ends; a step's seconds are shared evenly by its rows.

    On a GPU, a step's tokens are read while the next step is computed, which knows them already. A
    row that ends is computed once more than it needs to be, and nobody looks at it.

    Args:
        model: of transformers.
        wave: rows whose answers have their first tokens.
        recorder: see `RunningBatch`.
    """
    batch = RunningBatch(model, wave.num_places, recorder)
    rows: dict[int, Row] = {}
    for seat in wave.seats:
        if seat.cohort is not None:
            last = torch.tensor([row.answer.token_ids[-1] for row in seat.rows])
            batch.join(seat.cohort, seat.places, last)
            seat.cohort = None  # its memory is the batch's to free
            rows.update(zip(seat.places, seat.rows, strict=True))
    rows = _without_ended(batch, rows)
    lag, steps = _lag(model.device, rows.values()), deque[_Step]()
    with batch.decoding():
        while rows:
            start = time.perf_counter()
            is_last = not any(row.answer.num_left > len(steps) for row in rows.values())
            if not is_last:
                steps.append(_Step(batch))
            if is_last or len(steps) > lag:
                _write(batch, rows, steps.popleft())
            share = (time.perf_counter() - start) / len(rows)
            for row in rows.values():
                row.answer.spend("generate", share)
            rows = _without_ended(batch, rows)


class _Step:
    """What a step found, on its way to the host."""

    def __init__(self, batch: RunningBatch) -> None:
        """Compute one."""
        logits = batch.step()
        self._download = Download(batch.tokens, logits)
        self.removed = batch.removed
        """Entries removed so far, by place."""

    def take(self) -> tuple[list[int], torch.Tensor]:
        """Return the likeliest tokens and the logits (P, V), by place; waits for them."""
        tokens, logits = self._download.take()
        return tokens.tolist(), logits


def _lag(device: torch.device, rows: Iterable[Row]) -> int:
    """Return how many steps may be under way before the first of them is looked at."""
    # A processor has nothing to do meanwhile, and rules choose tokens on the host.
    return 0 if device.type == "cpu" or any(row.rules for row in rows) else 1


def _write(batch: RunningBatch, rows: dict[int, Row], step: _Step) -> None:
    """Write the next tokens of answers."""
    tokens, logits = step.take()
    for place, row in rows.items():
        chosen = choose(row, logits[place]) if row.rules else tokens[place]
        if chosen != tokens[place]:
            batch.feed(place, chosen)
        row.answer.write(chosen, logits[place])
        row.num_removed = step.removed.get(place, 0)


def _without_ended(batch: RunningBatch, rows: dict[int, Row]) -> dict[int, Row]:
    """Let ended rows leave; return the others."""
    ended = [place for place, row in rows.items() if row.answer.has_ended]
    if ended:
        batch.leave(ended)
    return {place: row for place, row in rows.items() if place not in ended}
