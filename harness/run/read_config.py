"""Reads run files strictly: one message names every mistake, its place, and what is allowed."""

import logging
from pathlib import Path
from typing import TypeVar

from encodeonce.datasets.refusals import Location, Refused, checked
from encodeonce.datasets.registry import load_benchmark
from encodeonce.datasets.sample import BenchmarkError
from encodeonce.datasets.strict_yaml import YamlError, parse_yaml
from encodeonce.harness.run.config import AnswerConfig, ConfigError, RunConfig
from encodeonce.harness.run.old_names import RENAMED
from encodeonce.models.checkpoint.files import CheckpointError, device

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
    try:
        document = parse_yaml(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"cannot read the run file {path}: {error.strerror or error}") from error
    except YamlError as error:
        raise ConfigError(f"{path}: {error}") from error
    content = document.value
    if not isinstance(content, dict):
        raise ConfigError(
            f"{path}: a run file is a mapping with the keys {', '.join(form.model_fields)}; "
            f"got {type(content).__name__}"
        )
    for old, new in RENAMED.items():
        if old in content:
            logger.warning("%s: %s: is now %s: (the old name still works)", path, old, new)
    try:
        config = checked(form, content)
    except Refused as error:
        lines = [
            f"{path}, line {document.line(_as_written(problem.path))}: {problem.words}"
            for problem in error.problems
        ]
        raise ConfigError("\n".join(lines)) from error
    for place, spec in config.placed_benchmarks():
        try:
            load_benchmark(spec.name, spec.options, config.frames)
        except BenchmarkError as error:
            line = document.line(place)
            raise ConfigError(f"{path}, line {line}: {error}") from error
    return config


def check_device(path: Path, config: AnswerConfig) -> None:
    """Refuse a device that this machine lacks, where it is this machine that computes.

    Args:
        path: of the run file, for the message.
        config: what it says.

    Raises:
        ConfigError: there is no such device here.
    """
    try:
        device(config.model)
    except CheckpointError as error:
        line = parse_yaml(path.read_bytes()).line(("model", "device"))
        raise ConfigError(f"{path}, line {line}: model.{error}") from error


def _as_written(location: Location) -> Location:
    """Return a location as far as the file has it: a list of budgets makes several kv entries."""
    return location[:1] if location[:1] == ("kv",) else location
