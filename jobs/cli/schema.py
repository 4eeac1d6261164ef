"""``encodeonce schema``: explains the keys of run files."""

import json
from collections.abc import Mapping
from typing import Annotated

import typer

from encodeonce.harness.report.plain_console import PlainConsole
from encodeonce.harness.run.config import AnswerConfig, RunConfig
from encodeonce.harness.serving.config import ServeConfig
from encodeonce.harness.training.adapter.config import TrainAdapterConfig
from encodeonce.harness.training.compressor.config import TrainCompressorConfig
from encodeonce.harness.training.fusion.config import FuseConfig
from encodeonce.jobs.cli.user_errors import user_errors

RUN_FILES: Mapping[str, type[AnswerConfig]] = {
    "run": RunConfig,
    "train": TrainCompressorConfig,
    "adapter": TrainAdapterConfig,
    "fuse": FuseConfig,
    "serve": ServeConfig,
}


def schema(
    kind: Annotated[str, typer.Argument(help=f"Kind of run file: {', '.join(RUN_FILES)}.")] = "run",
) -> None:
    """Print the JSON schema of a run file: its keys, their meanings and defaults."""
    with user_errors():
        if kind not in RUN_FILES:
            raise ValueError(f"there is no run file {kind!r}; allowed: {', '.join(RUN_FILES)}")
        PlainConsole().print_json(json.dumps(RUN_FILES[kind].model_json_schema()))
