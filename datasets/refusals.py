"""Say in our own words what pydantic refuses: the place, what was got, what is allowed."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

Schema = Mapping[str, Any]
Location = tuple[int | str, ...]
Model = TypeVar("Model", bound=BaseModel)

_SHOWN = 80
"""Characters of a value that messages repeat."""

_NEEDED: Mapping[str, str] = {
    "missing": "is missing",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "int_parsing_size": "must be a whole number of fewer digits",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "string_type": "must be a text (in quotes, if it looks like a number)",
    "path_type": "must be a path",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "dict_type": "must be a mapping",
    "mapping_type": "must be a mapping",
    "model_type": "must be a mapping of keys",
    "model_attributes_type": "must be a mapping of keys",
    "dataclass_type": "must be a mapping of keys",
    "dataclass_exact_type": "must be a mapping of keys",
}


class Refused(ValueError):
    """Something is not as its model wants it; says every place."""

    def __init__(self, problems: Sequence[tuple[Location, str]]) -> None:
        """Take each problem's place and its description, which names the place too."""
        super().__init__("; ".join(words for _, words in problems))
        self.problems = problems


def checked(model: type[Model], content: Any) -> Model:
    """Return ``content`` as a model.

    ``true`` and ``false`` are no numbers here. pydantic takes them for 1 and 0, so that
    ``check_uncached: true`` would check one sample.

    Raises:
        Refused: it is not one.
    """
    schema = model.model_json_schema()
    problems: list[tuple[Location, str]] = [
        (place, f"{'.'.join(map(str, place))}: must be a number{_got(value)}")
        for place, value in _booleans(content, schema, schema, ())
    ]
    try:
        found = model.model_validate(content)
    except ValidationError as error:
        problems += _refusals(error, schema)
        raise Refused(problems) from error
    if problems:
        raise Refused(problems)
    return found


def _refusals(error: ValidationError, schema: Schema) -> list[tuple[Location, str]]:
    """Return the place of each problem, and one line for it."""
    by_place: dict[Location, list[Any]] = {}
    for problem in error.errors():
        by_place.setdefault(_without_type(problem["loc"], schema), []).append(problem)
    places = list(by_place)
    return [
        (place, _refusal(place, problems, schema))
        for place, problems in by_place.items()
        # A list all of whose entries are refused is not short of entries.
        if problems[0]["type"] != "too_short" or not _is_within(place, places)
    ]


def _refusal(place: Location, problems: Sequence[Any], schema: Schema) -> str:
    """Return one line for the problems of a place: of its only type, or of each that it may be."""
    where, first = ".".join(map(str, place)), problems[0]
    if first["type"] == "extra_forbidden":
        allowed = _keys(_node_at(schema, place[:-1]))
        hint = suggestion(str(place[-1]), allowed)
        return f"{where}: unknown key. Allowed: {', '.join(allowed) or 'none'}.{hint}"
    words = " or ".join(
        [reason(first), *(reason(one).removeprefix("must be ") for one in problems[1:])]
    )
    if not where:
        return words
    if words.startswith(f"{where}: "):
        return words
    got = "" if first["type"] == "missing" else _got(first["input"])
    return f"{where}: {words}{got}{_closest(first)}"


def _without_type(location: Location, schema: Schema) -> Location:
    """Return a location without the name of a type, which pydantic adds where there are several."""
    is_choice = location and "anyOf" in _node_at(schema, location[:-1])
    return location[:-1] if is_choice and isinstance(location[-1], str) else location


def _is_within(place: Location, places: Sequence[Location]) -> bool:
    return any(len(one) > len(place) and one[: len(place)] == place for one in places)


def reason(problem: Any) -> str:
    """Return what is wrong, without the place and the value."""
    kind, details = problem["type"], problem.get("ctx", {})
    if kind == "value_error":
        return str(details["error"])
    if kind in _NEEDED:
        return _NEEDED[kind]
    if kind == "literal_error":
        return f"must be {details['expected']}"
    if kind == "too_short":
        return f"must have at least {details['min_length']} entries"
    if kind == "union_tag_not_found":
        return f"must say {details['discriminator']}"
    if kind == "union_tag_invalid":
        return f"{details['discriminator']} must be one of {details['expected_tags']}"
    words = str(problem["msg"]).replace(" should ", " must ")
    return words.removeprefix("Input ")


def suggestion(got: str, allowed: Sequence[str]) -> str:
    """Return a question that names what was probably meant; empty if nothing is close."""
    close = difflib.get_close_matches(got, allowed, n=1)
    return f" Did you mean {close[0]!r}?" if close else ""


def _keys(node: Schema) -> list[str]:
    """Return the keys of an object, without old names."""
    return [name for name, about in node.get("properties", {}).items() if "deprecated" not in about]


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


def _node_at(schema: Schema, location: Location) -> Schema:
    node = schema
    for part in location:
        if "discriminator" in node:  # pydantic names the chosen alternative in the location
            node = {"$ref": node["discriminator"]["mapping"].get(part, "")}
        elif isinstance(part, int):
            node = node.get("items", node)
        else:
            node = _property(node, part, schema)
        node = _resolved(node, schema)
    return node


def _property(node: Schema, name: str, schema: Schema) -> Schema:
    for one in _alternatives(node, schema):
        if name in one.get("properties", {}):
            found: Schema = one["properties"][name]
            return found
    return {}


def _resolved(node: Schema, schema: Schema) -> Schema:
    name = node.get("$ref", "").rpartition("/")[2]
    found: Schema = schema["$defs"][name] if name else node
    return found


def _closest(problem: Any) -> str:
    """Return which of the allowed words was probably meant."""
    details = problem.get("ctx", {})
    expected = str(details.get("expected", details.get("expected_tags", "")))
    words = [word for word in expected.split("'")[1::2] if word.strip()]
    hint = suggestion(str(details.get("tag", problem["input"])), words)
    return f".{hint}" if hint else ""


def _got(value: Any) -> str:
    """Return the value as a message's last words; nothing for a section, which is long."""
    if isinstance(value, Mapping | BaseModel):
        return ""
    got = {True: "true", False: "false", None: "null"}.get(value) if _is_word(value) else None
    got = repr(value) if got is None else got
    return f"; got {got if len(got) <= _SHOWN else got[:_SHOWN] + '…'}"


def _is_word(value: Any) -> bool:
    return value is None or isinstance(value, bool)
