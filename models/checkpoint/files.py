"""Checkpoints on disk: find them, digest their weights, and load parts of them."""

import copy
import hashlib
import json
import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
import transformers
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
from safetensors import safe_open
from torch import nn
from transformers import PreTrainedModel

from encodeonce.datasets.local_path import local_path
from encodeonce.models.checkpoint.loading_hooks import LoadingHooks
from encodeonce.models.checkpoint.tensors import to_array
from encodeonce.models.spec import ModelSpec, device_named

logger = logging.getLogger(__name__)

DEMO_CHECKPOINT = Path(__file__).parents[1] / "demo" / "checkpoint"

# No *.bin: pickles are not read.
CHECKPOINT_FILES = ("*.safetensors", "*.json", "*.jinja", "*.model", "*.tiktoken", "*.txt")


class CheckpointError(ValueError):
    """The checkpoint cannot be used."""


def local_checkpoint(spec: ModelSpec, key: str = "model.path") -> Path:
    """Return the folder of the checkpoint that ``spec`` names, downloading it if necessary.

    Args:
        spec: names the checkpoint.
        key: where in the run file it is named, for messages.

    Raises:
        CheckpointError: there is no such folder and no such hub repository, or it holds no
            safetensors.
    """
    if spec.path == "demo":
        folder = DEMO_CHECKPOINT
    elif (named := named_folder(spec.path, key)) is not None:
        folder = named.resolve()
    else:
        folder = _download(spec, key)
    if not (folder / "config.json").is_file():
        raise CheckpointError(f"{key} {spec.path!r}: {folder} has no config.json")
    if not [*folder.glob("*.safetensors"), *folder.glob("*/*.safetensors")]:
        raise CheckpointError(
            f"{key} {spec.path!r}: {folder} has no *.safetensors. Pickled weights (*.bin, "
            "*.pt) are not read; convert them with save_pretrained."
        )
    return folder


def named_folder(path: str, key: str = "model.path") -> Path | None:
    """Return the folder that a ``path`` of the run file names; None if there is none.

    Raises:
        CheckpointError: the path is empty, or contains a variable that is not set.
    """
    try:
        folder = local_path(path)
    except ValueError as error:
        raise CheckpointError(f"{key}: {error}") from error
    return folder if folder.is_dir() else None


def _download(spec: ModelSpec, key: str) -> Path:
    revision, patterns = spec.revision, list(CHECKPOINT_FILES)
    if spec.trust_remote_code is not None and spec.trust_remote_code.revision is not None:
        revision = spec.trust_remote_code.revision
        patterns.append("*.py")
    try:
        return Path(snapshot_download(spec.path, revision=revision, allow_patterns=patterns))
    except (HfHubHTTPError, LocalEntryNotFoundError, ValueError, OSError) as error:
        raise CheckpointError(
            f"{key} {spec.path!r} is neither a folder here nor a hub repository that can be "
            f"reached ({type(error).__name__}). Give a folder, org/name, or 'demo'."
        ) from error


def read_config(folder: Path) -> dict[str, Any]:
    """Return what a checkpoint's config.json holds."""
    return dict(json.loads((folder / "config.json").read_text(encoding="utf-8")))


def checkpoint_digest(folder: Path, file_sha256: Callable[[Path], str]) -> str:
    """Return the digest of all of a checkpoint's files that transformers reads.

    Args:
        folder: the checkpoint.
        file_sha256: returns a file's digest; remembering digests saves reading the weights again.
    """
    digest = hashlib.sha256()
    for path in sorted({path for pattern in CHECKPOINT_FILES for path in folder.rglob(pattern)}):
        digest.update(f"{path.relative_to(folder)} {file_sha256(path)}\n".encode())
    return digest.hexdigest()


def tensors(folder: Path) -> Iterator[tuple[str, Callable[[], torch.Tensor]]]:
    """Yield (name, read) of every tensor in the checkpoint's safetensors files."""
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 - safe_open is not a mapping
                yield name, lambda name=name, file=file: file.get_tensor(name)  # type: ignore[misc]


class StoredTensor(NamedTuple):
    """Where a tensor is stored."""

    path: Path
    name: str

    def read(self) -> torch.Tensor:
        """Return the tensor."""
        with safe_open(self.path, framework="pt") as file:
            return file.get_tensor(self.name)


def stored_tensors(folder: Path) -> Iterator[StoredTensor]:
    """Yield where every tensor of the checkpoint is stored; reads none of them."""
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 - safe_open is not a mapping
                yield StoredTensor(path, name)


def weights_digest(folder: Path, parts: Sequence[str]) -> str:
    """Return the SHA-256 of the tensors whose names contain one of ``parts``, hexadecimal.

    A part is a module's name such as ``"vision_tower"``. What precedes it in a tensor's name is
    left out, so that the same tower has the same digest in every model that has it.

    Raises:
        CheckpointError: one of the parts has no tensor.
    """
    patterns = [re.compile(rf"(?:^|\.)({re.escape(part)}\..*)$") for part in parts]
    found: list[tuple[str, str]] = []
    for name, read in tensors(folder):
        for match in filter(None, (pattern.search(name) for pattern in patterns)):
            found.append((match.group(1), _tensor_digest(read())))
    for part in parts:
        if not any(name.startswith(f"{part}.") for name, _ in found):
            raise CheckpointError(f"{folder} holds no weights named '{part}.*'")
    digest = hashlib.sha256()
    for name, value in sorted(found):
        digest.update(f"{name} {value}\n".encode())
    return digest.hexdigest()


def _tensor_digest(tensor: torch.Tensor) -> str:
    digest = hashlib.sha256(f"{tensor.dtype} {tuple(tensor.shape)} ".encode())
    digest.update(to_array(tensor.reshape(-1).view(torch.uint8)).data)
    return digest.hexdigest()


def load_without(
    model_class: type[PreTrainedModel],
    parts: Sequence[str],
    folder: Path,
    spec: ModelSpec,
    hooks: LoadingHooks | None = None,
) -> Any:
    """Load a checkpoint except for some of its submodules, which become `nn.Identity`.

    The weights of the parts left out are neither read nor allocated.

    Args:
        model_class: transformers class of the whole model.
        parts: dotted names of submodules to leave out, e.g. ``"model.vision_tower"``.
        folder: the checkpoint.
        spec: precision, device and attention.
        hooks: how weights are held; by default as they are stored.

    Raises:
        CheckpointError: the checkpoint lacks weights of the parts that are kept.
    """
    config_class: Any = model_class.config_class
    config = config_class.from_pretrained(folder, local_files_only=True)
    return load_partial(model_class, parts, folder, config, None, spec, hooks or LoadingHooks())


def load_partial(
    model_class: Any,
    parts: Sequence[str],
    folder: Path | None,
    config: Any,
    weights: Mapping[str, torch.Tensor] | None,
    spec: ModelSpec,
    hooks: LoadingHooks,
) -> Any:
    """Load a model without some parts, from a folder or from named weights.

    Raises:
        CheckpointError: weights are missing.
    """
    where = device(spec)
    partial: Any = _partial(model_class, parts, hooks)
    config = hooks.config(config)

    def skeleton() -> nn.Module:
        with torch.device("meta"):
            empty: nn.Module = partial(copy.deepcopy(config))
        return empty

    model, info = partial.from_pretrained(
        folder,
        config=config,
        state_dict=None if weights is None else dict(weights),
        dtype=getattr(torch, spec.dtype),
        attn_implementation=spec.attention,
        output_loading_info=True,
        local_files_only=True,
        **hooks.arguments(skeleton, where),
    )
    if info["missing_keys"]:
        missing = sorted(info["missing_keys"])
        raise CheckpointError(
            f"{folder or model_class.__name__} lacks {len(missing)} weights, first {missing[0]}: "
            "they would be random"
        )
    hooks.finish(model, where)
    return model.eval().requires_grad_(False)


def _partial(
    model_class: type[PreTrainedModel], parts: Sequence[str], hooks: LoadingHooks
) -> type[PreTrainedModel]:
    def init(self: PreTrainedModel, config: Any) -> None:
        model_class.__init__(self, config)  # on the meta device inside from_pretrained: free
        for part in parts:
            self.set_submodule(part, nn.Identity())
        hooks.outline(self)

    def save_pretrained(self: PreTrainedModel, *args: Any, **kwargs: Any) -> None:
        raise CheckpointError(
            "a model that was loaded in parts, or quantised while it was loaded, is not saved: "
            "what is written would lack weights, or hold them as a kernel wants them (bitsandbytes "
            "on a CPU rearranges them when it first computes). `encodeonce quantize` writes "
            "quantised checkpoints."
        )

    prefixes = tuple(f"{part}." for part in parts)
    tied = {
        name: source
        for name, source in (getattr(model_class, "_tied_weights_keys", None) or {}).items()
        if not name.startswith(prefixes) and not source.startswith(prefixes)
    }
    attributes = {
        "__init__": init,
        "save_pretrained": save_pretrained,
        "whole_class": model_class,
        # transformers knows which checkpoint keys to rename by a class's name and module.
        "__module__": model_class.__module__,
        "_tied_weights_keys": tied,
        "_keys_to_ignore_on_load_unexpected": [
            *(f"^{re.escape(prefix)}" for prefix in prefixes),
            *hooks.ignored,
        ],
    }
    return type(model_class.__name__, (model_class,), attributes)


def hide_loading_bars() -> None:
    """Switch off transformers' progress bars, which break up a stage's own bar."""
    transformers.utils.logging.disable_progress_bar()


def device(spec: ModelSpec) -> torch.device:
    """Return the device that ``spec.device`` means on this machine.

    Raises:
        CheckpointError: a GPU is asked for that torch does not see here.
    """
    if spec.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    found = device_named(spec.device)
    # Counting opens no GPU, which would take memory from the workers.
    num_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if found.type == "cuda" and (found.index or 0) >= num_gpus:
        seen = f"{num_gpus} of them, from cuda:0 on" if num_gpus else "none"
        raise CheckpointError(
            f"device: {spec.device} asks for a GPU, and torch sees {seen}; use auto or cpu"
        )
    return found
