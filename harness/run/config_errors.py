"""What was wrong in a run file, a line for each mistake, with what is allowed there."""

import difflib
from typing import Any

from pydantic import BaseModel


def explained(problem: Any, form: type[BaseModel]) -> str:
    """Return one line for a pydantic problem: where, what was got, what is allowed."""
    where = ".".join(str(part) for part in problem["loc"])
    if problem["type"] != "extra_forbidden":
        got = "" if problem["type"] == "missing" else f"; got {problem['input']!r}"
        return f"{where}: {problem['msg']}{got}"
    allowed = _fields_at(problem["loc"][:-1], form)
    unknown = str(problem["loc"][-1])
    close = difflib.get_close_matches(unknown, allowed, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return f"{where}: unknown key. Allowed: {', '.join(allowed)}.{hint}"


def _fields_at(location: tuple[int | str, ...], form: type[BaseModel]) -> list[str]:
    """Return the field names of the (possibly nested) model that ``location`` leads to."""
    schema = form.model_json_schema()
    node = schema
    for part in location:
        if "discriminator" in node:  # pydantic names the chosen alternative in the location
            node = {"$ref": node["discriminator"]["mapping"][part]}
        else:
            node = node["items"] if isinstance(part, int) else node["properties"][part]
        node = _resolve(node, schema)
    return list(node["properties"])


def _resolve(node: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    reference = node.get("$ref")
    if reference is None:
        return node
    definition: dict[str, Any] = schema["$defs"][reference.rpartition("/")[2]]
    return definition
