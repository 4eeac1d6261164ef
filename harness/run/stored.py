"""Checks what the files of a run's folder say: its description, records, precompute's journal."""

import sys
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

from encodeonce.datasets.refusal_words import reason
from encodeonce.datasets.refusals import checked
from encodeonce.harness.run.config import RunConfig
from encodeonce.harness.run.record import CacheUse, Record, SampleError
from encodeonce.harness.run.variant import VARIANTS, Variant

Form = TypeVar("Form")


class _Encoded(BaseModel):
    """What the precompute worker says about a media item; `encodeonce.harness.workers`."""

    media: str
    cache: CacheUse
    seconds: dict[str, float] = {}
    decoder: str | None = None


class _Outcome(BaseModel):
    """A line of precompute.jsonl."""

    item: str
    status: Literal["ok", "failed", "quarantined"]
    value: _Encoded | None = None
    error: SampleError | None = None
    finished_at: str | None = None


class _Benchmark(BaseModel):
    name: str
    label: str | None
    options: dict[str, Any]


class _Config(BaseModel):
    benchmarks: list[_Benchmark]


class _Description(BaseModel):
    """What run.json has had in all versions."""

    fingerprint: str
    identity: dict[str, Any]
    config: _Config
    variants: dict[str, dict[str, dict[str, Any]]] = {}


_DESCRIPTION = TypeAdapter(_Description)
RECORD = TypeAdapter(Record)
_OUTCOME = TypeAdapter(_Outcome)


def description_of(content: Any) -> dict[str, Any]:
    """Return what run.json holds.

    Raises:
        ValueError: no version wrote that.
    """
    _read(_DESCRIPTION, content, "a run's description")
    return dict(content)


def record_of(content: Any) -> Record:
    """Return the record that a line holds.

    Raises:
        ValueError: it holds something else.
    """
    record = _read(RECORD, content, "a record")
    Variant.parse(record.variant)
    check_time(record.finished_at)
    return record


def outcome_of(content: Any) -> dict[str, Any]:
    """Return a line of precompute's journal.

    Raises:
        ValueError: it is something else.
    """
    outcome = _read(_OUTCOME, content, "an outcome of precompute")
    check_time(outcome.finished_at)
    told = outcome.value if outcome.status == "ok" else outcome.error
    if told is None:
        raise ValueError(f"the status {outcome.status!r} comes without its value or error")
    return dict(_with_shared_keys(content))


def _with_shared_keys(value: Any) -> Any:
    """Return a JSON value whose keys and short texts are in memory once."""
    if isinstance(value, dict):
        return {sys.intern(name): _with_shared_keys(one) for name, one in value.items()}
    is_short = isinstance(value, str) and len(value) <= _DIGEST_CHARACTERS
    return sys.intern(value) if is_short else value


_DIGEST_CHARACTERS = 64


def _read(form: TypeAdapter[Form], content: Any, what: str) -> Form:
    if not isinstance(content, dict):
        raise ValueError(f"{what} is an object, not {_NAMES.get(type(content), 'null')}")
    try:
        return form.validate_python(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        lack = f"{what} lacks the key {where!r}"
        problem = f"{where}: {reason(first)}"
        raise ValueError(lack if first["type"] == "missing" else problem) from None


def check_time(finished_at: str | None) -> None:
    """Check a time that a line gives.

    Raises:
        ValueError: it is none.
    """
    if finished_at is not None:
        try:
            datetime.fromisoformat(finished_at)
        except ValueError as error:
            raise ValueError(f"finished_at: {error}") from None


_NAMES = {list: "a list", str: "a text", int: "a number", float: "a number", bool: "a boolean"}


def questions_of(config: Mapping[str, Any]) -> RunConfig:
    """Return what run.json says was asked, about what and of which model; without the variants.

    Their methods are not looked for: libraries, files and folders of theirs need not be here.

    Args:
        config: run.json's ``config``.

    Raises:
        Refused: it holds what a run file may not.
    """
    return checked(RunConfig, {key: one for key, one in config.items() if key not in VARIANTS})
