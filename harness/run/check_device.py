"""Refuses a device that this machine lacks, by file and line."""

from pathlib import Path

from encodeonce.datasets.strict_yaml import parse_yaml
from encodeonce.harness.run.config import ConfigError, QuestionsConfig
from encodeonce.models.checkpoint.files import CheckpointError, device


def check_device(path: Path, config: QuestionsConfig) -> None:
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
