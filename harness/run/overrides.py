"""Runs without a file, or with other values than the file's: what a command line or a call adds.

Every value goes to its place in a run file's content, which is then checked as if it stood in the
file. A mistake is reported by what the user typed.
"""

import copy
import hashlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from encodeonce.cache_store.signature import canonical_json
from encodeonce.datasets.refusals import Location
from encodeonce.datasets.registry import benchmark_class, entry_of
from encodeonce.datasets.strict_yaml import YamlError, parse_yaml
from encodeonce.harness.run.config import ConfigError, RunConfig
from encodeonce.models.kv.registry import method_class, method_names
from encodeonce.models.kv.spec import FULL_METHOD, expand_kv, fields_of

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Override:
    """A value, its place in a run file, and how the user wrote it."""

    place: Location
    value: Any
    written: str
    """As the user typed it, for messages: ``"--set workers.num_workers=8"``."""


def setting(text: str) -> Override:
    """Return what ``KEY=VALUE`` sets: keys joined by dots, positions as numbers, a value in YAML.

    Raises:
        ConfigError: it is not written so.
    """
    written = f"--set {text}"
    key, equals, value = text.partition("=")
    parts = [part.strip() for part in key.split(".")]
    if not equals or not all(parts):
        raise ConfigError(
            f"{written}: must be KEY=VALUE, with a run file's keys joined by dots, e.g. --set "
            "workers.num_workers=8 or --set benchmarks.0.options.durations='[short]'"
        )
    place = tuple(int(part) if part.isdigit() else part for part in parts)
    return Override(place, _yaml(value, written), written)


def listed(texts: Sequence[str]) -> list[str]:
    """Return what several options list, at commas outside brackets: ``a,{b: [1, 2]}`` is two."""
    found = []
    for text in texts:
        depth, start = 0, 0
        for at, sign in enumerate(text):
            depth += (sign in "([{") - (sign in ")]}")
            if sign == "," and depth == 0:
                found.append(text[start:at])
                start = at + 1
        found.append(text[start:])
    return [one.strip() for one in found if one.strip()]


def entries(texts: Sequence[str], option: str) -> list[Any]:
    """Return the entries of a list of variants: names and titles, or mappings in YAML.

    Raises:
        ConfigError: an entry is not YAML.
    """
    return [_yaml(one, f"{option} {one}") if one.startswith("{") else one for one in listed(texts)]


def benchmarks(texts: Sequence[str], option: str) -> list[Any]:
    """Return a run file's benchmarks for ``NAME:PATH``, or mappings in YAML.

    Raises:
        ConfigError: an entry is not YAML, or names no benchmark.
    """
    found = []
    for one in entries(texts, option):
        try:
            found.append(entry_of(one) if isinstance(one, str) else one)
        except ValueError as error:
            raise ConfigError(f"{option}: {error}") from error
    return found


def with_overrides(content: Mapping[str, Any], overrides: Sequence[Override]) -> dict[str, Any]:
    """Return a run file's content with other values in it.

    Raises:
        ConfigError: a value cannot be put where it belongs.
    """
    found: dict[str, Any] = copy.deepcopy(dict(content))
    for one in overrides:
        inner: Any = found
        for depth, key in enumerate(one.place):
            _require_room(inner, depth, one)
            following = one.place[depth + 1] if depth + 1 < len(one.place) else None
            if following is None:
                inner[key] = one.value
            elif isinstance(inner, dict) and inner.get(key) is None and isinstance(following, str):
                inner[key] = {}
            inner = inner.get(key) if isinstance(inner, dict) else inner[key]
    return found


def _require_room(inner: Any, depth: int, one: Override) -> None:
    """Refuse a key of what has none, and a position that a list does not have."""
    key = one.place[depth]
    if isinstance(inner, list) and isinstance(key, int) and key < len(inner):
        return
    if isinstance(inner, dict) and isinstance(key, str):
        return
    got = f"a list of {len(inner)}, counted from 0" if isinstance(inner, list) else repr(inner)
    if inner is None:
        got = "not given"
    where = ".".join(map(str, one.place[:depth])) or "a run file"
    raise ConfigError(f"{one.written}: there is no {key!r} in {where}, which is {got}")


def place_of(location: Location, overrides: Sequence[Override]) -> str | None:
    """Return what the user typed for a place of a run file, the last that was; None if nothing."""
    for one in reversed(overrides):
        common = min(len(one.place), len(location))
        if common and one.place[:common] == location[:common]:
            return one.written
    return None


def with_seed(content: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """Return a run file's content with the seed of whatever draws numbers and says no other.

    Answers are greedy: a seed changes none. Benchmarks that are made (``needle``) and controls
    among KV methods (``random``) draw.
    """
    found = copy.deepcopy(dict(content))
    kv = expand_kv(found.get("kv") or [])
    if isinstance(kv, list):
        found["kv"] = [fields_of(one) if isinstance(one, str) else one for one in kv]
    drawing = list(_that_draw(found))
    for entry in drawing:
        entry["options"] = {"seed": seed, **(entry.get("options") or {})}
    if not drawing:
        logger.warning(
            "--seed %d changes nothing: answers are greedy, and this run draws no numbers", seed
        )
    if not found.get("kv"):
        found.pop("kv", None)
    return found


def _that_draw(content: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the entries of a run file that have an option ``seed``; what is wrong is skipped."""
    for entry in content.get("benchmarks") or ():
        if isinstance(entry, dict) and isinstance(entry.get("name"), str):
            try:
                known = benchmark_class(entry["name"])
            except ValueError:  # refused by name when all is checked
                continue
            if "seed" in known.model_fields:
                yield entry
    for entry in content.get("kv") or ():
        name = entry.get("method") if isinstance(entry, dict) else None
        is_method = name in method_names() and name != FULL_METHOD
        if is_method and "seed" in method_class(str(name)).model_fields:
            yield entry


def default_output(config: RunConfig) -> Path:
    """Return the folder of a run that names none: the same one for the same model and questions.

    So a command that is repeated resumes its run, and one with other variants adds them.
    """
    fields = canonical_json(config.answer_fields())
    names = (Path(config.model.path).name, *(spec.title for spec in config.benchmarks))
    digest = hashlib.sha256(fields.encode()).hexdigest()[:8]
    return Path("encodeonce-results", "-".join((*names, digest))).absolute()


def _yaml(text: str, written: str) -> Any:
    try:
        return parse_yaml(text).value
    except YamlError as error:
        raise ConfigError(f"{written}: {error}") from error
