"""Refuses a device that this machine lacks, by file and line."""

from collections.abc import Sequence
from pathlib import Path

from encodeonce.datasets.strict_yaml import parse_yaml
from encodeonce.harness.run.config import AnswerConfig, ConfigError
from encodeonce.harness.run.overrides import Override, place_of
from encodeonce.models.checkpoint.files import CheckpointError, device


def check_device(
    path: Path | None, config: AnswerConfig, overrides: Sequence[Override] = ()
) -> None:
    """Refuse a device that this machine lacks, where it is this machine that computes.

    Args:
        path: of the run file, for the message; None where there is none.
        config: what it says.
        overrides: what was typed in place of the file's values.

    Raises:
        ConfigError: there is no such device here.
    """
    try:
        device(config.model)
    except CheckpointError as error:
        where = place_of(("model", "device"), overrides)
        if where is None and path is not None:
            where = f"{path}, line {parse_yaml(path.read_bytes()).line(('model', 'device'))}"
        raise ConfigError(f"{where}: model.{error}" if where else f"model.{error}") from error
