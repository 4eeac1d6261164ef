"""Describe a benchmark's options from its pydantic model; the type of those that are paths."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, BeforeValidator

from encodeonce.datasets.local_path import local_path

Schema = Mapping[str, Any]

EMPTY = ("null", "[]", "{}", "''")
"""Defaults that only say that the option may be left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One option."""

    name: str
    """With the names of what it is nested in: ``columns.id``."""
    allowed: str
    """What may be written: ``"none | frames | full"``."""
    default: str | None
    """As in YAML; None if the option must be written."""
    meaning: str
    example: str | None = None
    """As in YAML."""


def options_of(model: type[BaseModel]) -> list[Option]:
    """Return a model's options; those of a nested model follow it."""
    schema = model.model_json_schema()
    return list(_options(schema, schema, ""))


def run_file_entry(name: str, model: type[BaseModel]) -> str:
    """Return the lines that ask for a benchmark in a run file.

    Required options are filled in with the example of their field or of the whole model
    (pydantic's ``examples``); the others appear as comments if their default says something.
    """
    whole: dict[str, Any] = model.model_json_schema().get("examples", [{}])[0]
    written, comments = [], []
    for option in options_of(model):
        if option.name in whole:
            written.append(f"{option.name}: {_yaml(whole[option.name])}")
        elif option.default is None:
            written.append(f"{option.name}: {option.example or f'...  # {option.allowed}'}")
        elif option.default not in EMPTY and "." not in option.name:
            is_choice = " | " in option.allowed and not option.default.startswith("[")
            choices = f"  # {option.allowed}" if is_choice else ""
            comments.append(f"# {option.name}: {option.default}{choices}")
    head = "    options:" if written else "    # options:"
    body = [f"      {line}" for line in (*written, *comments)]
    return "\n".join(["benchmarks:", f"  - name: {name}", *([head] if body else []), *body])


def _options(schema: Schema, whole: Schema, prefix: str) -> Iterator[Option]:
    required = schema.get("required", [])
    for name, described in schema.get("properties", {}).items():
        kind = _resolve(described, whole)
        examples = described.get("examples", [])
        # A nested model's default shows in its fields.
        default = None if "properties" in kind else described.get("default")
        yield Option(
            name=f"{prefix}{name}",
            allowed=allowed_words(described, whole),
            default=None if name in required else _yaml(default),
            meaning=described.get("description") or kind.get("description", ""),
            example=_yaml(examples[0]) if examples else None,
        )
        yield from _options(kind, whole, f"{prefix}{name}.")


def allowed_words(schema: Schema, whole: Schema) -> str:
    """Say in a few words what a schema allows.

    Args:
        schema: of a value, as pydantic makes them.
        whole: of the model that it is a part of.
    """
    schema = _resolve(schema, whole)
    if "discriminator" in schema:
        key = schema["discriminator"]["propertyName"]
        return f"{{{key}: {' | '.join(schema['discriminator']['mapping'])}, …}}"
    if alternatives := schema.get("anyOf"):
        words = [allowed_words(one, whole) for one in alternatives if one.get("type") != "null"]
        return " or ".join(dict.fromkeys(words))
    if "enum" in schema:
        return " | ".join(_yaml(value) for value in schema["enum"])
    if "const" in schema:
        return _yaml(schema["const"])
    if items := schema.get("prefixItems"):
        return f"[{', '.join(allowed_words(one, whole) for one in items)}]"
    if schema.get("type") == "array":
        return f"list of {allowed_words(schema.get('items', {}), whole)}"
    if schema.get("format") in ("path", "file-path", "directory-path"):
        return "path"
    if "properties" in schema:
        return f"{{{', '.join(schema['properties'])}}}"
    return _TYPES.get(schema.get("type", ""), "any value")


_TYPES: Mapping[str, str] = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "true | false",
    "object": "mapping",
}


def _resolve(schema: Schema, whole: Schema) -> Schema:
    """Follow a reference; the keys beside it are kept."""
    name = schema.get("$ref", "").rpartition("/")[2]
    return {**whole["$defs"][name], **schema, "$ref": ""} if name else schema


def _yaml(value: Any) -> str:
    """Return a value as YAML on one line."""
    text = yaml.safe_dump(
        value, default_flow_style=True, width=float("inf"), allow_unicode=True, sort_keys=False
    )
    return text.removesuffix("\n").removesuffix("\n...")


def _expand(path: Any) -> Any:
    return local_path(path) if isinstance(path, str | Path) else path


# Before pydantic makes a Path of it: an empty text would be the working directory.
LocalPath = Annotated[Path, BeforeValidator(_expand)]
"""A path of this machine; see `local_path`. Absolute: workers, which score answers, may have other
working directories."""
