"""Reads run files strictly: one message names every mistake, its place, and what is allowed."""

import difflib
import logging
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from encodeonce.harness.run.config import RENAMED, ConfigError, RunConfig

logger = logging.getLogger(__name__)

Form = TypeVar("Form", bound=RunConfig)


def load_config(path: Path) -> RunConfig:
    """Read a run file; see `load_run_file`."""
    return load_run_file(path, RunConfig)


def load_run_file(path: Path, form: type[Form]) -> Form:
    """Read a run file of another form, e.g. for another harness.

    Raises:
        ConfigError: the file is missing, is not YAML, or contains something that is not allowed;
            the message names every place.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read the run file {path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not YAML: {error}") from error
    if not isinstance(content, dict):
        raise ConfigError(
            f"{path}: a run file is a mapping with the keys {', '.join(form.model_fields)}; "
            f"got {type(content).__name__}"
        )
    for old, new in RENAMED.items():
        if old in content:
            logger.warning("%s: %s: is now %s: (the old name still works)", path, old, new)
    try:
        return form.model_validate(content)
    except ValidationError as error:
        problems = "\n".join(f"  {_explain(problem, form)}" for problem in error.errors())
        raise ConfigError(f"{path}:\n{problems}") from error


def _explain(problem: Any, form: type[RunConfig]) -> str:
    """Return one line for a pydantic problem: its place, the value, what is allowed."""
    where = ".".join(str(part) for part in problem["loc"])
    if not where:  # about the whole file, whose content is not repeated
        return str(problem["msg"])
    if problem["type"] != "extra_forbidden":
        got = "" if problem["type"] == "missing" else f"; got {problem['input']!r}"
        return f"{where}: {problem['msg']}{got}"
    allowed = _fields_at(problem["loc"][:-1], form)
    unknown = str(problem["loc"][-1])
    close = difflib.get_close_matches(unknown, allowed, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return f"{where}: unknown key. Allowed: {', '.join(allowed)}.{hint}"


def _fields_at(location: tuple[int | str, ...], form: type[RunConfig]) -> list[str]:
    """Return the field names of the (possibly nested) model that ``location`` leads to."""
    schema = form.model_json_schema()
    node = schema
    for part in location:
        if "discriminator" in node:  # pydantic names the chosen alternative in the location
            node = {"$ref": node["discriminator"]["mapping"][part]}
        else:
            node = node["items"] if isinstance(part, int) else node["properties"][part]
        node = _resolve(node, schema)
    return [name for name, about in node["properties"].items() if "deprecated" not in about]


def _resolve(node: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    reference = node.get("$ref")
    if reference is None:
        return node
    definition: dict[str, Any] = schema["$defs"][reference.rpartition("/")[2]]
    return definition
