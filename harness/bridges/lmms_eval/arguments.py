"""The arguments that ``--model_args`` accepts."""

import os
from typing import Literal

from pydantic import Field

from encodeonce.harness.bridges.flat_options import Arguments
from encodeonce.harness.bridges.requests import VariantConfig
from encodeonce.models.checkpoint.files import device


class ModelArguments(VariantConfig):
    """How lmms-eval's requests are answered."""

    on_error: Literal["raise", "empty"] = Field(
        default="raise",
        description="What to do about a request that cannot be answered (a damaged video): 'raise' "
        "ends the evaluation, 'empty' gives an empty answer, which lmms-eval scores.",
    )
    window: int = Field(
        default=256,
        ge=1,
        description="How many requests are read ahead to find those that share media.",
    )


MODEL_ARGS = Arguments(
    config=ModelArguments,
    what="model_args",
    flat=("model", "frames", "vision", "generation", "cache"),
    renamed={
        ("model", "path"): "pretrained",  # lmms-eval names its output folder after it
        ("cache", "path"): "store",
        ("generation", "max_batch"): "batch_size",  # --batch_size
    },
    defaults={
        ("cache", "on_miss"): "encode",  # there is no precompute step before
        ("generation", "max_new_tokens"): 1024,  # as lmms-eval's llava_hf
    },
)


def on_own_device(arguments: ModelArguments) -> ModelArguments:
    """Give each process started by accelerate or torchrun the GPU of its number."""
    found = device(arguments.model)
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or found.type != "cuda":
        return arguments
    own = {"device": f"cuda:{os.environ.get('LOCAL_RANK', '0')}"}
    return arguments.model_copy(update={"model": arguments.model.model_copy(update=own)})
