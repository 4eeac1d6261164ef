"""Reads a configuration written flat, ``name=value``, as other harnesses take model options.

The names are those of a run file: ``dtype`` is ``model.dtype``, ``kv.keep`` is ``kv.keep``, and a
plain value for a section is its first field, so that ``kv=snapkv`` is ``kv.method``. They are
derived from the configuration's own fields: a new field is a new argument.
"""

import logging
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar, get_args

from pydantic import BaseModel

from encodeonce.datasets.refusal_words import suggestion
from encodeonce.datasets.refusals import Location, Refused, checked
from encodeonce.datasets.strict_json import JsonError, parse_json
from encodeonce.harness.run.config import ConfigError
from encodeonce.harness.run.old_names import RENAMED

logger = logging.getLogger(__name__)

Config = TypeVar("Config", bound=BaseModel)
Place = tuple[str, ...]
"""A value's place in the configuration: ``("model", "dtype")``, or ``("video_backend",)``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arguments(Generic[Config]):
    """The arguments that express a configuration."""

    config: type[Config]
    what: str
    """The user's word for the arguments, for messages."""
    flat: Collection[str]
    """Sections whose fields are arguments by their own name, where no other field has it."""
    renamed: Mapping[Place, str] = field(default_factory=dict)
    """The other harness's names for some of them."""
    defaults: Mapping[Place, Any] = field(default_factory=dict)
    """Defaults that differ from the configuration's own."""

    def names(self) -> dict[str, Place]:
        """Return the arguments and the places of their values."""
        places = [place for name in self.config.model_fields for place in self._places(name)]
        ends = Counter([place[-1] for place in places if place[0] in self.flat])
        names: dict[str, Place] = {}
        for place in places:
            section, leaf = place[0], place[-1]
            if place in self.renamed:
                names[self.renamed[place]] = place
            elif section in self.flat and ends[leaf] == 1:
                names[leaf] = place
            elif section not in self.flat and section not in names:
                names[section] = place
            else:
                names[".".join(place)] = place
        return names

    def read(self, given: Mapping[str, Any]) -> Config:
        """Return the configuration that arguments describe.

        Args:
            given: values by argument; a text in braces or brackets is JSON.

        Raises:
            ConfigError: an argument is unknown, or its value is not allowed; names every one.
        """
        names = self.names()
        given = self._under_new_names(given)
        fields = self.config.model_fields
        places = {name: self._places(name)[0] for name in fields}
        places |= {".".join(place): place for place in names.values()} | names
        unknown = [name for name in given if name not in places]
        if unknown:
            raise ConfigError("\n".join(self._unknown(name, list(names)) for name in unknown))
        # A missing field of a section is then reported under its own name.
        content: dict[str, Any] = {
            name: {} for name in fields if fields[name].is_required() and len(places[name]) > 1
        }
        for place, value in self.defaults.items():
            _put(content, place, value)
        for name, value in given.items():
            parsed = self._parsed(name, value)
            is_section = name in fields and isinstance(parsed, dict)
            _put(content, (name,) if is_section else places[name], parsed)
        self._choose(content)
        try:
            return checked(self.config, content)
        except Refused as error:
            by_place: dict[Location, str] = {place: name for name, place in names.items()}
            lines = [
                f"{self.what}: {by_place[one.path]}: {one.sentence}"
                if one.path in by_place
                else f"{self.what}: {one.words}"
                for one in error.problems
            ]
            raise ConfigError("\n".join(lines)) from error

    def _under_new_names(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments with old names replaced; log each one used."""
        for old, new in RENAMED.items():
            if old in given and new in given:
                raise ConfigError(f"{self.what}: {old} is the old name of {new}: give only {new}")
            if old in given:
                logger.warning("%s: %s is now %s (the old name still works)", self.what, old, new)
        return {RENAMED.get(name, name): value for name, value in given.items()}

    def _places(self, name: str) -> list[Place]:
        """Return the places of a configuration field's values: a section's leaves."""
        annotation = self.config.model_fields[name].annotation
        alternatives = (annotation, *get_args(annotation))
        models = [
            one for one in alternatives if isinstance(one, type) and issubclass(one, BaseModel)
        ]
        leaves = dict.fromkeys(leaf for model in models for leaf in model.model_fields)
        return [(name, leaf) for leaf in leaves] or [(name,)]

    def _choose(self, content: dict[str, Any]) -> None:
        """In a section with alternatives, choose the default one where none is named."""
        for name, about in self.config.model_fields.items():
            tag, section = about.discriminator, content.get(name)
            if isinstance(tag, str) and isinstance(section, dict):
                section.setdefault(tag, getattr(about.default, tag))

    def _parsed(self, name: str, value: Any) -> Any:
        if not isinstance(value, str) or not value.startswith(("{", "[")):
            return value
        try:
            return parse_json(value)
        except JsonError as error:
            raise ConfigError(f"{self.what}: {name}: {error}; got {value!r:.80}") from error

    def _unknown(self, name: str, allowed: list[str]) -> str:
        hint = suggestion(name, allowed)
        return f"{self.what}: {name!r} is unknown. Allowed: {', '.join(allowed)}.{hint}"


def _put(content: dict[str, Any], place: Place, value: Any) -> None:
    *sections, last = place
    for section in sections:
        content = content.setdefault(section, {})
    content[last] = {**content.get(last, {}), **value} if isinstance(value, dict) else value
