"""The running batch: one forward pass a step over rows that join and leave at any step.

Rows stand at *places*, whose number is fixed. A place without a row is vacant: it is computed like
the others, over nothing, and ignored. So the shapes of every step are the same, whoever is there,
and a row's bits depend on its own cohort and its place alone: not on who else is being decoded, who
has ended, or what was left out because it was answered before.

Shapes: P places, R rows of a cohort, H heads of queries, K heads of keys, D width, V vocabulary.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import compress
from typing import Any

import torch
from transformers.cache_utils import Cache

from encodeonce.models.kv.attention import attending
from encodeonce.models.kv.cache import NAME, attention_by
from encodeonce.models.kv.cohort import Cohort
from encodeonce.models.kv.kernels.recording import Recorder, Recording
from encodeonce.models.kv.kernels.transfer import upload
from encodeonce.models.language.adapting import BASE, AdaptedRows, using


class RunningBatch:
    """Decodes greedily, one token a step for every row."""

    def __init__(self, model: Any, num_places: int, recorder: Recorder | None = None) -> None:
        """Make a batch without rows.

        Args:
            model: of transformers. Rows may be about different media: the state that a prefix
                needs in the model is not used, as all positions are given.
            num_places: P.
            recorder: records steps, to be replayed while their shapes repeat. None: every step is
                computed anew.
        """
        self._model = model
        self._members: list[_Member] = []
        self._taken: set[int] = set()
        self._device = device = model.device
        self._tokens = torch.zeros(num_places, 1, dtype=torch.long, device=device)
        self._positions = torch.zeros(num_places, 1, dtype=torch.long, device=device)
        self._is_taken = torch.zeros(num_places, 1, dtype=torch.long, device=device)
        self._recorder = recorder
        self._recording: Recording | None = None
        self._is_new = True
        self._adapted = AdaptedRows([BASE] * num_places)

    @property
    def num_places(self) -> int:
        """P."""
        return len(self._tokens)

    @property
    def places(self) -> frozenset[int]:
        """The places that are taken."""
        return frozenset(self._taken)

    @property
    def allocated_bytes(self) -> int:
        """Of the rows' own caches, room and padding included; prefixes belong to others."""
        return sum(member.cohort.cache.allocated_bytes for member in self._members)

    def resize(self, num_places: int) -> None:
        """Have another number of places from the next step on; other shapes may round differently.

        Raises:
            ValueError: a place that would be gone is taken.
        """
        if gone := [place for place in self._taken if place >= num_places]:
            raise ValueError(f"the places {sorted(gone)} are taken; {num_places} are too few")
        kept = min(num_places, self.num_places)
        for name in ("_tokens", "_positions", "_is_taken"):
            before: torch.Tensor = getattr(self, name)
            after = before.new_zeros(num_places, 1)
            after[:kept] = before[:kept]
            setattr(self, name, after)
        self._is_new = True

    def join(self, cohort: Cohort, places: Sequence[int], tokens: torch.Tensor) -> None:
        """Let rows take places; from the next step on they are decoded.

        Args:
            cohort: rows whose cache holds everything up to their last token but one.
            places: of its rows, vacant and different from each other.
            tokens: (R,) the rows' last tokens.

        Raises:
            ValueError: a place is taken, or there is none of this number.
        """
        if len(set(places)) != len(cohort) or not all(
            0 <= place < self.num_places and place not in self._taken for place in places
        ):
            raise ValueError(
                f"{len(cohort)} rows want the places {list(places)} of {self.num_places}; "
                f"taken: {sorted(self._taken)}"
            )
        if self._recorder is not None and cohort.cache.can_be_fixed:
            cohort.cache.fix(self._device)
        member = _Member(cohort, places, self._device)
        self._members.append(member)
        self._taken.update(places)
        member.put(self._tokens, tokens.to(self._device, non_blocking=True)[:, None])
        member.put(self._is_taken, torch.ones_like(self._is_taken[: len(places)]))
        member.write_positions(self._positions)
        self._is_new = True

    def leave(self, places: Sequence[int]) -> None:
        """Vacate places. A cohort's memory is freed once half of its rows have left."""
        leaving = set(places)
        if not leaving <= self._taken:
            raise ValueError(f"the places {sorted(leaving - self._taken)} are vacant")
        self._taken -= leaving
        for place in leaving:
            self._is_taken[place].fill_(0)  # a position that nobody is at stays as it is
        has_dropped = [member.leave(leaving) for member in self._members]
        self._members = [member for member in self._members if member.num_present]
        self._is_new |= any(has_dropped)

    @property
    def removed(self) -> dict[int, int]:
        """How many entries methods have removed since rows joined, in all layers; by place."""
        return {
            place: count
            for member in self._members
            for place, count in member.removed_by_place().items()
        }

    @contextmanager
    def decoding(self) -> Iterator[None]:
        """Let the model attend to the rows' caches inside the block, which may take many steps."""
        with (
            torch.inference_mode(),
            attending(self._model, NAME, attention_by(self._attend), with_masks=False),
        ):
            yield

    def step(self) -> torch.Tensor:
        """Feed every row its last token; return the logits (P, V) float32 behind it.

        The likeliest tokens are the next to be fed; `feed` replaces them. Inside `decoding` only.
        """
        if any(member.cohort.cache.evicts for member in self._members):
            for member in self._members:  # their positions may follow what is left
                member.write_positions(self._positions)
        with using(self._by_place()):
            return self._forward() if self._recorder is None else self._repeated(self._recorder)

    def _by_place(self) -> AdaptedRows:
        """Return the adapter that each place is under; vacant ones are under none."""
        found = {at: member.cohort.adapter for member in self._members for at in member.present}
        numbers = [found.get(place, BASE) for place in range(self.num_places)]
        if numbers != self._adapted.numbers:
            self._adapted, self._is_new = AdaptedRows(numbers), True  # recorded steps know them
        return self._adapted

    def _repeated(self, recorder: Recorder) -> torch.Tensor:
        """Compute a step, record it when it is to be repeated for the first time, or replay it."""
        caches = [member.cohort.cache for member in self._members]
        has_grown = [cache.reserve() for cache in caches if cache.is_fixed]
        if self._is_new or any(has_grown) or not all(cache.is_fixed for cache in caches):
            self._recording, self._is_new = None, False
            return recorder.run(self._forward)
        if self._recording is None:
            self._recording = recorder.record(self._forward)
        else:
            for cache in caches:
                cache.advance()
        return self._recording.replay()

    def _forward(self) -> torch.Tensor:
        output = self._model(
            input_ids=self._tokens,
            position_ids=self._positions,
            past_key_values=_Joined(self._members),
            use_cache=True,
        )
        logits: torch.Tensor = output.logits[:, -1].float()
        # In place: a recorded step knows tensors by their addresses.
        self._tokens.copy_(logits.argmax(-1, keepdim=True))
        self._positions.add_(self._is_taken)
        return logits

    def feed(self, place: int, token: int) -> None:
        """Choose another next token than the likeliest for a row."""
        self._tokens[place].fill_(token)

    @property
    def tokens(self) -> torch.Tensor:
        """(P,) the tokens to be fed next; of vacant places, anything."""
        return self._tokens[:, 0]

    def _attend(self, layer: int, query: torch.Tensor, scaling: float) -> torch.Tensor:
        """Return the output (P, 1, H, D): every cohort's rows attend to its cache."""
        outputs = [
            member.cohort.cache.ragged[layer].attend(member.of(query), scaling)
            for member in self._members
        ]
        like = outputs[0] if outputs else query.transpose(1, 2)
        taken = like.new_zeros(len(query), *like.shape[1:])
        for member, output in zip(self._members, outputs, strict=True):
            member.put(taken, output)
        return taken


class _Member:
    """A cohort at its places. Rows that have left stay in it until it is worth dropping them.

    Their places may be taken again meanwhile: members are asked in the order in which they joined,
    so what the latest writes at a place is what counts.
    """

    def __init__(self, cohort: Cohort, places: Sequence[int], device: torch.device) -> None:
        self.cohort = cohort
        self._device = device
        self._present = [True] * len(places)
        self._sit(places)

    def _sit(self, places: Sequence[int]) -> None:
        self._places = list(places)
        first, count = self._places[0], len(self._places)
        self._slice = slice(first, first + count) if self._is_one_piece(first) else None
        self._index = upload(self._places, self._device)

    def _is_one_piece(self, first: int) -> bool:
        return self._places == [*range(first, first + len(self._places))]

    @property
    def present(self) -> list[int]:
        """The places of rows that have not left."""
        return list(compress(self._places, self._present))

    @property
    def num_present(self) -> int:
        """Rows that have not left."""
        return sum(self._present)

    def of(self, states: torch.Tensor) -> torch.Tensor:
        """Return its rows of (P, ...)."""
        return states.index_select(0, self._index) if self._slice is None else states[self._slice]

    def put(self, states: torch.Tensor, mine: torch.Tensor) -> None:
        """Write its rows of (P, ...)."""
        if self._slice is None:
            states.index_copy_(0, self._index, mine)
        else:
            states[self._slice] = mine

    def write_positions(self, positions: torch.Tensor) -> None:
        """Write the positions of its rows' next tokens to (P, 1)."""
        self.put(positions, upload(self.cohort.positions(), self._device)[:, None])

    def removed_by_place(self) -> dict[int, int]:
        """Return how many entries of each row were removed, of rows that may lose any."""
        removed = self.cohort.cache.removed
        return {self._places[row]: n for row, n in removed.items() if self._present[row]}

    def leave(self, places: set[int]) -> bool:
        """Take note of rows that leave, and drop all that have once they are half of it.

        When that happens depends on the cohort's own rows alone.

        Returns:
            Whether what is computed has changed: none is left, or rows were dropped.
        """
        before = self.num_present
        for row, place in enumerate(self._places):
            if place in places:
                self._present[row] = False
        if 0 < self.num_present <= len(self._places) / 2:
            kept = [row for row, is_present in enumerate(self._present) if is_present]
            self.cohort.keep(kept)
            self._present = [True] * len(kept)
            self._sit([self._places[row] for row in kept])
            return True
        return self.num_present == 0 < before


class _Joined(Cache):
    """The caches of all cohorts, as a model's layers write to them."""

    def __init__(self, members: Sequence[_Member]) -> None:
        self.layers = []
        self._members = members

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, layer_idx: int, *args: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append (P, K, 1, D) entries, each to its row's cache."""
        for member in self._members:
            member.cohort.cache.update(member.of(key_states), member.of(value_states), layer_idx)
        return key_states, value_states

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Return 0: rows differ, and every position is given."""
        return 0
