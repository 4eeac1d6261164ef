"""What vLLM's encoder outputs depend on besides the media item: weights, precision, versions."""

import hashlib
import socket
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from encodeonce.cache_store.signature import Signature
from encodeonce.models.checkpoint.files import CheckpointError, local_checkpoint, weights_digest
from encodeonce.models.checkpoint.files import tensors as all_tensors
from encodeonce.models.family import find_family
from encodeonce.models.family_bases.transformers import TransformersFamily, last_name
from encodeonce.models.spec import ModelSpec

PROCESSOR_FILES = (
    "preprocessor_config.json",
    "processor_config.json",
    "video_preprocessor_config.json",
)
"""What says how media become pixels. vLLM's digest of a media item leaves them out."""


def signature_of(vllm_config: Any) -> Signature:
    """Return the signature of a server's encoder outputs.

    Args:
        vllm_config: of vLLM.

    Raises:
        ValueError: the checkpoint cannot be read, or adapters change the encoder by request.
    """
    model, lora = vllm_config.model_config, vllm_config.lora_config
    if lora is not None and lora.enable_tower_connector_lora:
        raise ValueError(
            "EncodeOnceConnector: under --enable-tower-connector-lora an output depends on the "
            "request's adapter, which vLLM names and does not digest: leave one of the two out"
        )
    spec = ModelSpec(path=str(model.model), revision=model.revision)
    multimodal = model.multimodal_config
    return Signature(
        tower=str(model.hf_config.model_type),
        weights_sha256=encoder_sha256(spec),
        tap={"at": "vLLM's encoder output"},
        preprocess={
            "vllm": version_of_vllm(),
            "transformers": version("transformers"),
            "files": _processor_files(local_checkpoint(spec, "model")),
            "arguments": _plain(multimodal.mm_processor_kwargs or {}),
        },
        decoder="vLLM's media loaders",
        dtype=str(model.dtype).removeprefix("torch."),
        numerics={
            "attention": _plain(multimodal.mm_encoder_attn_backend),
            "attention dtype": _plain(multimodal.mm_encoder_attn_dtype),
            "pruned": _plain(getattr(multimodal, "video_pruning_rate", None)),
            "quantization": _plain(model.quantization),
            "overrides": _plain(model.hf_overrides),
        },
    )


def _processor_files(folder: Path) -> dict[str, str]:
    """Return the digests of the files that say how media become pixels."""
    return {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest()
        for name in PROCESSOR_FILES
        if (folder / name).is_file()
    }


def provenance_of(vllm_config: Any) -> dict[str, str]:
    """Return who encodes: facts of interest that the signature leaves out."""
    return {
        "model": str(vllm_config.model_config.model),
        "host": socket.gethostname(),
        "software": f"vLLM {version_of_vllm()}, torch {version('torch')}",
    }


@cache
def encoder_sha256(spec: ModelSpec) -> str:
    """Return the digest of the weights that a checkpoint's encoder outputs depend on.

    Of tower and projector where one of our families says which these are, else of all weights:
    then a change to the language model is a miss, and nothing worse.
    """
    folder = local_checkpoint(spec, "model")
    family: object = None
    with suppress(CheckpointError):
        family, _ = find_family(spec)
    if isinstance(family, TransformersFamily):
        parts = [family.tower] if family.projector is None else [family.tower, family.projector]
        return weights_digest(folder, [last_name(part) for part in parts])
    return weights_digest(folder, sorted({name.split(".")[0] for name, _ in all_tensors(folder)}))


def version_of_vllm() -> str:
    """Return vLLM's version, whichever of its builds is installed."""
    import vllm

    return str(vllm.__version__)


def _plain(value: Any) -> Any:
    """Return a setting as JSON has it; what has no such form is told by its words."""
    if isinstance(value, str | int | float | bool | None):
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return str(value)
