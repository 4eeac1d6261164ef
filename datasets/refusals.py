"""Say in our own words what pydantic refuses: the place, what was got, what is allowed.

A model is made of what users wrote by `checked`, never by ``model_validate`` or its class
(`tests/datasets/test_refusals.py` holds the code to it); `problems_of` is for the rest.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

from encodeonce.datasets.options import allowed_words
from encodeonce.datasets.refusal_words import (
    closest,
    got,
    got_beside,
    reason,
    suggestion,
    unknown_key,
)

Schema = Mapping[str, Any]
Location = tuple[int | str, ...]
Model = TypeVar("Model", bound=BaseModel)
Kind = TypeVar("Kind")


class Problem(NamedTuple):
    """Something that is not as its model wants it."""

    path: Location
    """Keys and positions, as they were written; empty where it is about all of it."""
    sentence: str
    """What is wrong, what was got, and what is allowed."""

    @property
    def words(self) -> str:
        """The sentence with its place: ``"workers.lease_s: must be above 0; got 0"``."""
        return f"{_dotted(self.path)}: {self.sentence}" if self.path else self.sentence


class Refused(ValueError):
    """Something is not as its model wants it; says every place."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        """Take the problems."""
        super().__init__("; ".join(problem.words for problem in problems))
        self.problems = problems


class _Place(NamedTuple):
    """Where in what was written a problem is, and where in the model's schema."""

    path: Location
    """Keys and positions, as they were written."""
    section: Schema
    """What the last key belongs to."""
    node: Schema
    """What may stand there."""
    choice: str
    """Which kind of section it is, where there are several: ``" where policy is fps"``."""


def checked(model: type[Model], content: Any) -> Model:
    """Return ``content`` as a model.

    ``true`` and ``false`` are no numbers here. pydantic takes them for 1 and 0, so that
    ``check_uncached: true`` would check one sample.

    Raises:
        Refused: it is not one.
    """
    schema = _schema(model)
    problems = [
        Problem(path, f"must be a number{got(value)}")
        for path, value in (
            _booleans(content, schema, schema, ()) if _holds_boolean(content) else ()
        )
    ]
    try:
        found = model.model_validate(content)
    except ValidationError as error:
        known = {problem.path for problem in problems}
        problems += [one for one in problems_of(error, model) if one.path not in known]
        raise Refused(problems) from error
    if problems:
        raise Refused(problems)
    return found


def checked_as(kind: type[Kind], content: Any) -> Kind:
    """Return ``content`` as a dataclass of somebody else's, as `checked` does for our models.

    Raises:
        Refused: it is not one.
    """
    try:
        found: Kind = _adapter(kind).validate_python(content)  # type: ignore[arg-type]
    except ValidationError as error:
        problems = [
            Problem(problem["loc"], f"{reason(problem)}{got(problem['input'])}")
            for problem in error.errors()
        ]
        raise Refused(problems) from error
    return found


@cache
def _adapter(kind: type[Any]) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def problems_of(error: ValidationError, model: type[BaseModel]) -> list[Problem]:
    """Return the problems that pydantic found, one for each place.

    Args:
        error: pydantic's.
        model: what was to be made.
    """
    schema = _schema(model)
    by_path: dict[Location, list[tuple[_Place, Any]]] = {}
    for problem in error.errors():
        place = _find(problem["loc"], schema)
        by_path.setdefault(place.path, []).append((place, problem))
    paths = list(by_path)
    return [
        _problem(found, schema)
        for path, found in by_path.items()
        # A list all of whose entries are refused is not short of entries.
        if found[0][1]["type"] != "too_short" or not _is_within(path, paths)
    ]


def _problem(found: Sequence[tuple[_Place, Any]], schema: Schema) -> Problem:
    """Return the problem of a place: of its only type, or of each that it may be."""
    place, first = found[0]
    if first["type"] == "extra_forbidden":
        allowed = _keys(place.section, schema)
        return Problem(place.path, unknown_key(str(place.path[-1]), allowed, place.choice))
    if first["type"].startswith("union_tag"):
        return _other_tag(place, first)
    reasons = [_reason(place, problem, schema) for place, problem in found]
    others = (words.removeprefix("must be ") for words in reasons[1:])
    words = " or ".join(dict.fromkeys([reasons[0], *others]))
    if first["type"] == "missing" and isinstance(first["input"], Mapping):
        known = _keys(place.section, schema)
        unread = [str(key) for key in first["input"] if key not in known]
        words += _hint(suggestion(str(place.path[-1]), unread))
    # Some of our validators begin with the key that they are about.
    words = words.removeprefix(f"{_dotted(place.path)}: ")
    return Problem(place.path, f"{words}{got_beside(words, first)}{_closest(found)}")


def _closest(found: Sequence[tuple[_Place, Any]]) -> str:
    return next(filter(None, (closest(problem) for _, problem in found)), "")


def _reason(place: _Place, problem: Any, schema: Schema) -> str:
    words = reason(problem, allowed_words(place.node, schema))
    keys = _keys(place.node, schema) if words.endswith("mapping of keys") else []
    return f"{words} ({', '.join(keys)})" if keys else words


def _other_tag(place: _Place, problem: Any) -> Problem:
    """Say which key chooses among several kinds of section, and by which words."""
    about = place.node.get("discriminator", {"propertyName": "kind", "mapping": {}})
    allowed, key = list(about["mapping"]), about["propertyName"]
    tag = problem.get("ctx", {}).get("tag")
    if tag is None:
        return Problem((*place.path, key), f"is missing. Allowed: {', '.join(allowed)}")
    value = problem["input"].get(key, tag)
    words = f"must be one of {', '.join(allowed)}{got(value)}"
    hint = suggestion(str(tag), allowed)
    return Problem((*place.path, key), words + _hint(hint))


def _hint(question: str) -> str:
    return f".{question}" if question else ""


def _find(location: Location, schema: Schema) -> _Place:
    """Return a problem's place. pydantic's location also names which of several types was tried."""
    path: Location = ()
    section: Schema = {}
    node, choice = schema, ""
    for part in location:
        about = node.get("discriminator", {"mapping": {}})
        if part in about["mapping"]:
            node = _resolved({"$ref": about["mapping"][part]}, schema)
            choice = f" where {about['propertyName']} is {part}"
        elif len(_not_null(node)) < 2 or isinstance(part, int):
            path, section = (*path, part), node
            node = _resolved(_inner(node, part, schema), schema)
    return _Place(path=path, section=section, node=node, choice=choice)


def _not_null(node: Schema) -> list[Schema]:
    return [one for one in node.get("anyOf", ()) if one.get("type") != "null"]


def _inner(node: Schema, part: int | str, schema: Schema) -> Schema:
    """Return what may stand at a key or position of what ``node`` allows."""
    for one in _alternatives(node, schema):
        found: Schema | bool = (
            one.get("items", {})
            if isinstance(part, int)
            else one.get("properties", {}).get(part, one.get("additionalProperties", {}))
        )
        if found and isinstance(found, Mapping):
            return found
    return {}


def _is_within(place: Location, places: Sequence[Location]) -> bool:
    return any(len(one) > len(place) and one[: len(place)] == place for one in places)


def _keys(node: Schema, schema: Schema) -> list[str]:
    """Return the keys of a section, without old names."""
    names = {
        name: None
        for one in _alternatives(node, schema)
        for name, about in one.get("properties", {}).items()
        if "deprecated" not in about
    }
    return list(names)


@cache
def _schema(model: type[BaseModel]) -> Schema:
    return model.model_json_schema()


def _dotted(path: Location) -> str:
    return ".".join(map(str, path))


def _holds_boolean(content: Any) -> bool:
    """Return whether ``true`` or ``false`` stands anywhere; a million rows are looked through."""
    if isinstance(content, Mapping):
        return any(map(_holds_boolean, content.values()))
    return isinstance(content, bool) or (
        isinstance(content, list) and any(map(_holds_boolean, content))
    )


def _booleans(
    content: Any, node: Schema, schema: Schema, place: Location
) -> Iterator[tuple[Location, bool]]:
    """Yield where ``true`` or ``false`` stands for a number, and which."""
    node = _resolved(node, schema)
    if isinstance(content, bool):
        kinds = {one.get("type") for one in _alternatives(node, schema)}
        if kinds & {"integer", "number"} and "boolean" not in kinds:
            yield place, content
    elif isinstance(content, Mapping):
        node = _resolved(node.get("items", node), schema)  # one entry, where there may be several
        for one in _alternatives(node, schema):
            for name, inner in one.get("properties", {}).items():
                if name in content:
                    yield from _booleans(content[name], inner, schema, (*place, name))
    elif isinstance(content, list):
        for one in _alternatives(node, schema):
            # A list where one value is described: a run file's budgets.
            inner = one.get("items", one)
            for position, item in enumerate(content):
                yield from _booleans(item, inner, schema, (*place, position))


def _alternatives(node: Schema, schema: Schema) -> list[Schema]:
    """Return what may stand there: the models of a union, or one of several types."""
    if node.get("type") == "array" or not ("anyOf" in node or "oneOf" in node):
        return [node]
    return [_resolved(one, schema) for one in (*node.get("anyOf", ()), *node.get("oneOf", ()))]


def _resolved(node: Schema, schema: Schema) -> Schema:
    name = node.get("$ref", "").rpartition("/")[2]
    found: Schema = schema["$defs"][name] if name else node
    return found
