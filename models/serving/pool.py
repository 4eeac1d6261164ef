"""Requests in one model's memory: each is read, compressed, and decoded beside all others.

Stages are apart, so that whoever serves may choose what to do next. Every request has a cohort of
its own, which joins the running batch when its prompt is ready and leaves when its answer is.

Shapes: R requests, V vocabulary.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from encodeonce.models.answer import Generation
from encodeonce.models.kv.cohort import Cohort, cohort_behind, cohort_of, read
from encodeonce.models.kv.compress import compress
from encodeonce.models.kv.kernels.transfer import Download
from encodeonce.models.kv.prompts import Prompts, needs_of, question_observation
from encodeonce.models.kv.running_batch import RunningBatch
from encodeonce.models.kv.spec import KVSpec
from encodeonce.models.kv.waves import Row, choose
from encodeonce.models.language.generation import Answering, ends_of
from encodeonce.models.language.logits_rules import logits_rules
from encodeonce.models.language.prefix import Prefix

_FIRST_ROOM = 32
"""Tokens of an answer that there is room for at first."""


@dataclass(slots=True, kw_only=True, eq=False)
class Served:
    """A request while it is in memory."""

    setting: KVSpec
    prefix: Prefix | None
    """Held until the request no longer needs it."""
    suffix: Sequence[int]
    """The question's tokens."""
    row: Row
    prompts: Prompts | None = None
    """What is to be compressed."""
    cohort: Cohort | None = None
    """Its cache; None before there is one."""
    kept_bytes: int = 0
    """Of the prompt's entries, as stored, once the prompt is ready."""
    evicts: bool = False
    """Whether its method removes entries while decoding."""
    place: int | None = None
    """In the running batch; None outside it."""

    @property
    def is_ready(self) -> bool:
        """Whether it can be decoded."""
        return self.cohort is not None and self.prompts is None and bool(self.row.answer.token_ids)

    @property
    def has_ended(self) -> bool:
        """Whether its answer is complete."""
        return bool(self.row.answer.token_ids) and self.row.answer.has_ended

    @property
    def own_bytes(self) -> int:
        """Of its cache, room included; the prefix counted apart."""
        return 0 if self.cohort is None else self.cohort.cache.allocated_bytes


class ServingPool:
    """Computes the stages of requests, and decodes all that are ready in one pass a step.

    The running batch has as many places as the next power of two: as with the batch sizes for which
    CUDA graphs are captured, shapes repeat, and few places are computed over nothing.
    """

    def __init__(self, model: Any, tokenizer: Any) -> None:
        """Begin empty; ``model`` and ``tokenizer`` are of transformers."""
        self._model, self._tokenizer = model, tokenizer
        self._ends = ends_of(model)
        self._batch = RunningBatch(model, 1)
        self._rows: dict[int, Served] = {}
        self._held: dict[int, Served] = {}

    @property
    def num_places(self) -> int:
        """Places of the running batch, vacant ones included."""
        return self._batch.num_places

    def allocated_bytes(self, resident: Iterable[Prefix] = ()) -> int:
        """Return the bytes of all keys and values in memory, prefixes counted once.

        Args:
            resident: prefixes that are kept, whether a request uses them or not.
        """
        held = (one.prefix for one in self._held.values() if one.prefix)
        prefixes = {id(prefix.cache): prefix.nbytes for prefix in (*resident, *held)}
        return sum(prefixes.values()) + sum(one.own_bytes for one in self._held.values())

    def read(
        self,
        prefix: Prefix,
        question: str,
        setting: KVSpec,
        num_tokens: int,
        *,
        is_forced: bool = False,
        emitted: Sequence[int] = (),
    ) -> Served:
        """Read a question over its prefix; the first token is known afterwards.

        Under a setting of scope "media" nothing is read yet: see `read_late`.

        Args:
            prefix: prefilled for ``setting``.
            question: text of the prompt, without media.
            setting: what becomes of the cache.
            num_tokens: most tokens of the answer.
            is_forced: whether the answer goes on to ``num_tokens``, past the end of text.
            emitted: tokens of an answer that was begun before, and whose cache was dropped.
        """
        suffix = prefix.suffix(question)
        served = self._begin(prefix, suffix, setting, num_tokens, is_forced, emitted)
        token_ids = torch.tensor([suffix], device=self._model.device)
        if setting.is_full:
            served.cohort = cohort_behind(prefix, [0], len(suffix) + _FIRST_ROOM)
            logits = read(self._model, served.cohort, token_ids)
            served.kept_bytes = prefix.nbytes * len(served.row.prompt) // prefix.num_tokens
            self._write_first(served, logits, emitted)
            self._feed(served)
        elif setting.scope == "question":
            cohort = cohort_behind(prefix, [0], len(suffix))
            seen = question_observation(needs_of([setting]), len(suffix))
            logits = read(self._model, cohort, token_ids, seen.watching(self._model))
            served.prompts = Prompts(self._model, prefix, seen, [len(suffix)])
            self._write_first(served, logits, emitted)
        else:
            served.prompts = Prompts(self._model, prefix, None, [len(suffix)])
        self._held[id(served)] = served
        return served

    def compress(self, served: Served) -> None:
        """Compress what has been read."""
        assert served.prompts is not None, "nothing to compress"
        assert served.prefix is not None
        with torch.inference_mode():
            (fork,) = compress(served.prompts, 0, [served.setting])
        offset = served.prefix.opening.position_offset
        is_media = served.setting.scope == "media"
        num_more = len(served.suffix) if is_media else 0
        served.cohort = cohort_of([fork], offset, num_more + _FIRST_ROOM)
        served.row.num_bytes = fork.measure(num_more)
        served.kept_bytes = sum(served.row.num_bytes.kept)
        served.prompts = served.prefix = None  # a fork is a copy
        served.evicts = fork.eviction is not None
        if not is_media:
            self._feed(served)

    def read_late(self, served: Served) -> None:
        """Read a question over its compressed prefix; the first token is known afterwards."""
        assert served.cohort is not None, "compressed first"
        token_ids = torch.tensor([served.suffix], device=self._model.device)
        logits = read(self._model, served.cohort, token_ids)
        self._write_first(served, logits, served.row.answer.token_ids)
        self._feed(served)

    def join(self, served: Served) -> None:
        """Let a request be decoded from the next step on."""
        assert served.cohort is not None and served.is_ready, "its prompt is not ready"
        place = min(set(range(len(self._rows) + 1)) - self._rows.keys())
        if place >= self._batch.num_places:
            self._batch.resize(2 * self._batch.num_places)
        last = torch.tensor(served.row.answer.token_ids[-1:])
        with torch.inference_mode():
            self._batch.join(served.cohort, [place], last)
        self._rows[place], served.place = served, place

    def step(self) -> list[Served]:
        """Write one more token of every answer in the batch; return them in order of place."""
        rows = dict(sorted(self._rows.items()))
        with self._batch.decoding():
            found = self._batch.step()
            tokens, logits = Download(self._batch.tokens, found).take()
            likeliest = tokens.tolist()
            for place, served in rows.items():
                chosen = likeliest[place]
                if served.row.rules:
                    chosen = choose(served.row, logits[place])
                if chosen != likeliest[place]:
                    self._batch.feed(place, chosen)
                served.row.answer.write(chosen, logits[place])
        return list(rows.values())

    def decode_only(self, requests: Sequence[Served]) -> None:
        """Let the next steps be over these alone; the caches of the others stay as they are."""
        wanted = set(map(id, requests))
        for served in [one for one in self._rows.values() if id(one) not in wanted]:
            self._leave(served)
        for served in requests:
            if served.place is None:
                self.join(served)

    def drop(self, served: Served) -> None:
        """Forget a request's cache, finished or not."""
        self._leave(served)
        served.cohort = served.prompts = served.prefix = None
        self._held.pop(id(served), None)

    def answer(self, served: Served) -> Generation:
        """Return a finished answer."""
        kv = None
        if served.row.num_bytes is not None:
            num_fed = len(served.row.answer.token_ids) - 1
            kv = served.row.num_bytes.after(num_fed, served.row.num_removed)
        return served.row.answer.generation(self._tokenizer, kv)

    def _begin(
        self,
        prefix: Prefix,
        suffix: Sequence[int],
        setting: KVSpec,
        num_tokens: int,
        is_forced: bool,
        emitted: Sequence[int],
    ) -> Served:
        prompt = (*prefix.opening.token_ids, *suffix)
        answer = Answering(
            frozenset() if is_forced else self._ends,
            num_tokens,
            len(prompt),
            prefix.opening.num_visual_units,
            num_prefix_tokens=prefix.num_tokens,
        )
        row = Row(
            key="",
            question=0,
            setting=0,
            answer=answer,
            prompt=prompt,
            rules=logits_rules(self._model, len(prompt)),
        )
        answer.token_ids.extend(emitted)
        return Served(setting=setting, prefix=prefix, suffix=suffix, row=row)

    def _write_first(self, served: Served, logits: torch.Tensor, emitted: Sequence[int]) -> None:
        """Choose the first token from logits (1, V), unless it is known."""
        if not emitted:
            token = choose(served.row, logits[0]) if served.row.rules else int(logits[0].argmax())
            served.row.answer.write(token, logits[0])

    def _feed(self, served: Served) -> None:
        """Read what was emitted before the cache was dropped, but for the last token."""
        assert served.cohort is not None
        known = served.row.answer.token_ids[:-1]
        # A method that removes entries while decoding does so once a step.
        step = 1 if served.evicts else max(1, len(known))
        for start in range(0, len(known), step):
            some = torch.tensor([known[start : start + step]], device=self._model.device)
            read(self._model, served.cohort, some)

    def _leave(self, served: Served) -> None:
        if served.place is None:
            return
        served.row.num_removed = self._batch.removed.get(served.place, 0)
        self._batch.leave([served.place])
        del self._rows[served.place]
        served.place = None
        self._shrink()

    def _shrink(self) -> None:
        """Give up the upper half of the places while nobody stands there."""
        highest = max(self._rows, default=0)
        while self._batch.num_places > 1 and highest < self._batch.num_places // 2:
            self._batch.resize(self._batch.num_places // 2)
