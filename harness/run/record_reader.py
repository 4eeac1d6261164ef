"""Reads a million lines of records within memory and time: what many say is kept once."""

from collections.abc import Mapping
from typing import Any

from encodeonce.harness.run.record import Record
from encodeonce.harness.run.stored import RECORD, check_time, record_of
from encodeonce.harness.run.variant import Variant

_EMPTY: Mapping[str, Any] = {}
_SHARED = ("run", "question", "choices", "media_sha256", "cache")
"""Fields in which many records say the same. Short texts are shared by pydantic's reader."""
_MAPPINGS = ("first_logits", "log_probs", "num_scored_tokens", "first_log_probs")


class RecordReader:
    """Makes records of lines.

    `quick` takes nine lines of ten, whole lines of what this version writes; the others go through
    `slow`, which says what is wrong with a line.
    """

    def __init__(self, *, with_logits: bool) -> None:
        """Begin a file.

        Args:
            with_logits: whether to keep the logits of first tokens, and the digests of all.
        """
        self._with_logits = with_logits
        self._once: dict[Any, Any] = {}
        self._variants: set[str] = set()

    def quick(self, line: bytes) -> Record:
        """Return the record that a line holds.

        Raises:
            ValueError: it holds something else, or `slow` has to look at it.
        """
        record = RECORD.validate_json(line)
        if record.variant not in self._variants:
            Variant.parse(record.variant)
            self._variants.add(record.variant)
        check_time(record.finished_at)
        return self._lean(record)

    def slow(self, content: Any) -> Record:
        """Return the record that a line's value holds; see `record_of`."""
        return self._lean(record_of(content))

    def _lean(self, record: Record) -> Record:
        """Return the record, with one object for what earlier ones said too."""
        put, once = object.__setattr__, self._once
        for name in _SHARED:
            value = getattr(record, name)
            put(record, name, once.setdefault(value, value))
        tags = tuple(record.tags.items())
        put(record, "tags", once.setdefault(("tags", tags), record.tags))
        if not self._with_logits:
            put(record, "first_logits", _EMPTY)
            put(record, "logits_sha256", None)
        for name in _MAPPINGS:
            if not getattr(record, name):
                put(record, name, _EMPTY)
        return record
