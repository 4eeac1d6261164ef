"""A configuration written flat, ``name=value``, as other harnesses take their models' options.

The names are those of a run file, without the section where that is clear: ``dtype`` is
``model.dtype``. They are read off the configuration's own fields, so that a new field is a new
argument.
"""

import difflib
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from encodeonce.harness.config import ConfigError

Config = TypeVar("Config", bound=BaseModel)
Place = tuple[str, ...]
"""Where a value belongs: ``("model", "dtype")``, or ``("decoder",)``."""


def argument_names(config: type[BaseModel], renamed: Mapping[Place, str]) -> dict[str, Place]:
    """Return the arguments that a configuration has, and where their values belong.

    Args:
        config: the configuration.
        renamed: what the other harness calls some of them.
    """
    places = [place for place in _places(config) if place not in renamed]
    ends = Counter([place[-1] for place in places] + list(renamed.values()))
    names = {".".join(place) if ends[place[-1]] > 1 else place[-1]: place for place in places}
    return names | {name: place for place, name in renamed.items()}


def read_arguments(
    config: type[Config],
    given: Mapping[str, Any],
    *,
    what: str,
    renamed: Mapping[Place, str],
    defaults: Mapping[Place, Any],
) -> Config:
    """Return a configuration from arguments.

    Args:
        config: its class.
        given: values by argument; a string in braces or brackets is JSON.
        what: what the user calls the arguments, for messages.
        renamed: what the other harness calls some arguments.
        defaults: values where nothing is given, if not the configuration's own.

    Raises:
        ConfigError: an argument is unknown, or its value is not allowed; names every one.
    """
    names = argument_names(config, renamed)
    sections = [place[0] for place in names.values() if len(place) > 1]
    places = {**{name: (name,) for name in sections}, **names}
    unknown = [name for name in given if name not in places]
    if unknown:
        raise ConfigError("\n".join(_unknown(what, name, list(names)) for name in unknown))
    # What is missing in a section is then said by its own name.
    required = [name for name in sections if config.model_fields[name].is_required()]
    content: dict[str, Any] = {name: {} for name in required}
    for place, value in defaults.items():
        _put(content, place, value)
    for name, value in given.items():
        _put(content, places[name], _parsed(what, name, value))
    _choose(config, content)
    try:
        return config.model_validate(content)
    except ValidationError as error:
        by_place = {place: name for name, place in names.items()}
        lines = [_problem(what, problem, by_place) for problem in error.errors()]
        raise ConfigError("\n".join(lines)) from error


def _places(config: type[BaseModel]) -> Iterator[Place]:
    for name, field in config.model_fields.items():
        alternatives = (field.annotation, *get_args(field.annotation))
        models = [
            one for one in alternatives if isinstance(one, type) and issubclass(one, BaseModel)
        ]
        if not models:
            yield (name,)
        yield from dict.fromkeys((name, leaf) for model in models for leaf in model.model_fields)


def _put(content: dict[str, Any], place: Place, value: Any) -> None:
    *sections, last = place
    for section in sections:
        content = content.setdefault(section, {})
    content[last] = {**content.get(last, {}), **value} if isinstance(value, dict) else value


def _choose(config: type[BaseModel], content: dict[str, Any]) -> None:
    """Of a section with alternatives, take the default's where none is named."""
    for name, field in config.model_fields.items():
        tag, section = field.discriminator, content.get(name)
        if isinstance(tag, str) and isinstance(section, dict):
            section.setdefault(tag, getattr(field.default, tag))


def _parsed(what: str, name: str, value: Any) -> Any:
    if not isinstance(value, str) or not value.startswith(("{", "[")):
        return value
    try:
        return json.loads(value)
    except ValueError as error:
        raise ConfigError(f"{what}: {name} is not JSON: {error}; got {value!r}") from error


def _unknown(what: str, name: str, allowed: list[str]) -> str:
    close = difflib.get_close_matches(name, allowed, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return f"{what}: {name!r} is unknown. Allowed: {', '.join(allowed)}.{hint}"


def _problem(what: str, problem: Any, by_place: Mapping[Place, str]) -> str:
    """Return one line for a pydantic problem, in the arguments' names."""
    place = tuple(str(part) for part in problem["loc"])
    # Where there are alternatives, pydantic names the chosen one in between.
    name = by_place.get(place) or by_place.get((place[0], place[-1])) or ".".join(place)
    if problem["type"] == "missing":
        return f"{what}: {name} is missing"
    if problem["type"] == "extra_forbidden":
        return f"{what}: {name} does not belong to {'.'.join(place[:-1])}; got {problem['input']!r}"
    return f"{what}: {name}: {problem['msg']}; got {problem['input']!r}"
