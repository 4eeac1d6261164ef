"""Reads run files strictly: one message names every mistake, its place, and what is allowed."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from encodeonce.datasets.refusals import Location, Refused, checked
from encodeonce.datasets.registry import load_benchmark
from encodeonce.datasets.sample import BenchmarkError
from encodeonce.datasets.strict_yaml import YamlDocument, YamlError, parse_yaml
from encodeonce.harness.run.config import AnswerConfig, ConfigError, RunConfig
from encodeonce.harness.run.old_names import RENAMED
from encodeonce.harness.run.overrides import (
    Override,
    default_output,
    place_of,
    with_overrides,
    with_seed,
)

logger = logging.getLogger(__name__)

Form = TypeVar("Form", bound=AnswerConfig)


def load_config(path: Path) -> RunConfig:
    """Read a run file; see `load_run_file`."""
    return load_run_file(path, RunConfig)


def load_run_file(path: Path, form: type[Form]) -> Form:
    """Read a run file of another form, e.g. for another harness, or of a workload.

    Raises:
        ConfigError: the file is missing, is not YAML, or contains something that is not allowed;
            the message names every place and its line.
    """
    document = _document(path, form)

    def place(location: Location) -> str:
        return f"{path}, line {document.line(_as_written(location))}: "

    return _checked(form, document.value, place)


def load_run(
    path: Path | None, overrides: Sequence[Override] = (), seed: int | None = None
) -> RunConfig:
    """Return the run of a file, of what was typed in place of one, or of both.

    Args:
        path: of the run file, if there is one.
        overrides: values that replace the file's, or stand for it.
        seed: see `with_seed`.

    Raises:
        ConfigError: something is missing or not allowed; the message names the line or the option.
    """
    document = None if path is None else _document(path, RunConfig)

    def place(location: Location) -> str:
        if written := place_of(location, overrides):
            return f"{written}: "
        if document is None:
            return ""
        return f"{path}, line {document.line(_as_written(location))}: "

    content = with_overrides({} if document is None else document.value, overrides)
    if seed is not None:
        content = with_seed(content, seed)
    if "output" in content or path is not None:
        return _checked(RunConfig, content, place)
    config = _checked(RunConfig, {**content, "output": "."}, place)
    return config.model_copy(update={"output": default_output(config)})


def _document(path: Path, form: type[AnswerConfig]) -> YamlDocument:
    try:
        document = parse_yaml(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"cannot read the run file {path}: {error.strerror or error}") from error
    except YamlError as error:
        raise ConfigError(f"{path}: {error}") from error
    if not isinstance(document.value, dict):
        raise ConfigError(
            f"{path}: a run file is a mapping with the keys {', '.join(form.model_fields)}; "
            f"got {type(document.value).__name__}"
        )
    for old, new in RENAMED.items():
        if old in document.value:
            logger.warning("%s: %s: is now %s: (the old name still works)", path, old, new)
    return document


def _checked(form: type[Form], content: Any, place: Callable[[Location], str]) -> Form:
    """Check a run file's content.

    Args:
        form: of the file.
        content: what it holds.
        place: returns where something stands, and a colon.

    Raises:
        ConfigError: something in it is not allowed.
    """
    try:
        config = checked(form, content)
    except Refused as error:
        lines = [f"{place(problem.path)}{problem.words}" for problem in error.problems]
        raise ConfigError("\n".join(lines)) from error
    for where, spec in config.placed_benchmarks():
        try:
            load_benchmark(spec.name, spec.options, config.frames)
        except BenchmarkError as error:
            raise ConfigError(f"{place(where)}{error}") from error
    return config


def _as_written(location: Location) -> Location:
    """Return a location as far as the file has it: a list of budgets makes several kv entries."""
    return location[:1] if location[:1] == ("kv",) else location
