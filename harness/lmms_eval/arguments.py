"""What ``--model_args`` may say."""

import os
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from encodeonce.harness.arguments import Place, read_arguments
from encodeonce.harness.config import AnswerConfig
from encodeonce.models.checkpoint import device

RENAMED: Mapping[Place, str] = {
    ("model", "path"): "pretrained",  # lmms-eval names its output folder by it
    ("cache", "path"): "store",
    ("generation", "max_batch"): "batch_size",  # --batch_size
}
DEFAULTS: Mapping[Place, Any] = {
    ("cache", "on_miss"): "encode",  # there is no precompute step before
    ("generation", "max_new_tokens"): 1024,  # as lmms-eval's llava_hf
}


class ModelArguments(AnswerConfig):
    """How lmms-eval's requests are answered."""

    on_error: Literal["raise", "empty"] = Field(
        default="raise",
        description="What becomes of a request that cannot be answered (a damaged video): 'raise' "
        "ends the evaluation, 'empty' goes on with an empty answer, which lmms-eval scores.",
    )
    window: int = Field(
        default=256,
        ge=1,
        description="So many requests are looked at together, to find those that share media.",
    )


def read_model_args(given: Mapping[str, Any]) -> ModelArguments:
    """Return what the user said, on the command line or in Python.

    Raises:
        ConfigError: an argument is unknown, or its value is not allowed.
    """
    return read_arguments(
        ModelArguments, given, what="model_args", renamed=RENAMED, defaults=DEFAULTS
    )


def on_own_device(arguments: ModelArguments) -> ModelArguments:
    """Give each process that accelerate or torchrun started the GPU of its number."""
    found = device(arguments.model)
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or found.type != "cuda":
        return arguments
    own = {"device": f"cuda:{os.environ.get('LOCAL_RANK', '0')}"}
    return arguments.model_copy(update={"model": arguments.model.model_copy(update=own)})
