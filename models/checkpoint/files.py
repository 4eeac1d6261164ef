"""Checkpoints on disk: find them, digest their weights, and load parts of them."""

import hashlib
import logging
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
from safetensors import safe_open
from transformers import AutoConfig

from encodeonce.datasets.local_path import local_path
from encodeonce.datasets.strict_json import JsonError, read_json
from encodeonce.models.checkpoint.integrity import find_problem
from encodeonce.models.checkpoint.tensors import to_array
from encodeonce.models.spec import ModelSpec

logger = logging.getLogger(__name__)

DEMO_CHECKPOINT = Path(__file__).parents[1] / "demo" / "checkpoint"

# No *.bin: pickles are not read.
CHECKPOINT_FILES = ("*.safetensors", "*.json", "*.jinja", "*.model", "*.tiktoken", "*.txt")


_MOST_WORDS = 240
"""Characters of a library's message that ours repeat: transformers may list all its models."""


class CheckpointError(ValueError):
    """The checkpoint cannot be used."""


def local_checkpoint(spec: ModelSpec, key: str = "model.path") -> Path:
    """Return the folder of the checkpoint that ``spec`` names, downloading it if necessary.

    Args:
        spec: names the checkpoint.
        key: where in the run file it is named, for messages.

    Raises:
        CheckpointError: there is no such folder and no such hub repository, or it holds no
            safetensors, or one of its files is cut, missing, or not what its name says.
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
    _check_files(folder, spec, key)
    return folder


def _check_files(folder: Path, spec: ModelSpec, key: str) -> None:
    """Refuse a checkpoint one of whose files is not what its name says, before it is used."""
    problem = find_problem(folder)
    if problem is None:
        return
    is_folder_of_user = named_folder(spec.path, key) is not None
    again = f"hf download ORG/NAME --local-dir {folder}"
    if not is_folder_of_user and spec.path != "demo":
        again = f"hf download {spec.path} --force-download"
    if problem.is_pointer and is_folder_of_user:
        again = f"git -C {folder} lfs pull (or {again})"
    raise CheckpointError(f"{key} {spec.path!r}: {problem.words}. Type: {again}")


def check_names(folder: Path) -> None:
    """Check that a checkpoint's weights have the names under which transformers looks for them.

    Raises:
        CheckpointError: they have others, or are a LoRA adapter's.
    """
    if any((folder / f"model.safetensors{end}").is_file() for end in ("", ".index.json")):
        return
    names = sorted(path.name for path in folder.glob("*.safetensors"))
    if "adapter_config.json" in {path.name for path in folder.iterdir()}:
        raise CheckpointError(
            f"{folder} is a LoRA adapter ({', '.join(names)}), not a model. Merge it into its base "
            "model (merge_and_unload, then save_pretrained), and give that folder"
        )
    raise CheckpointError(
        f"{folder} has no model.safetensors; got {', '.join(names) or 'none in the folder itself'}."
        " Save the model by save_pretrained"
    )


def named_folder(path: str, key: str = "model.path") -> Path | None:
    """Return the folder that a ``path`` of the run file names; None if there is none.

    Raises:
        CheckpointError: the path is empty, contains a variable that is not set, or is a file's.
    """
    try:
        folder = local_path(path)
    except ValueError as error:
        raise CheckpointError(f"{key}: {error}") from error
    if folder.is_file():
        raise CheckpointError(
            f"{key} {path!r} is a file; give the folder it is in: {folder.parent}"
        )
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
    """Return what a checkpoint's config.json holds.

    Raises:
        CheckpointError: it is no JSON object.
    """
    return read_settings(folder / "config.json")


def read_settings(path: Path) -> dict[str, Any]:
    """Return what one of a checkpoint's JSON files holds.

    Raises:
        CheckpointError: it is missing, or is no JSON object.
    """
    try:
        content = read_json(path, allow_nan=True)
    except JsonError as error:
        raise CheckpointError(f"{error}") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} must hold an object {{…}}; got a {type(content).__name__}")
    return content


def load_config(folder: Path, config_class: Any = AutoConfig) -> Any:
    """Return a checkpoint's configuration as transformers has it.

    Raises:
        CheckpointError: config.json holds what transformers cannot use.
    """
    read_config(folder)
    with refusing(folder / "config.json"):
        return config_class.from_pretrained(folder, local_files_only=True)


@contextmanager
def refusing(file: Path) -> Iterator[None]:
    """Let whatever a library raises while it reads a file become a `CheckpointError` naming it."""
    try:
        yield
    except CheckpointError:
        raise
    # transformers, tokenizers and jinja2 have no common base, and raise KeyError for a missing key.
    except Exception as error:
        words = " ".join(f"{type(error).__name__}: {error}".split())
        words = words if len(words) <= _MOST_WORDS else f"{words[:_MOST_WORDS]}…"
        raise CheckpointError(
            f"{file} cannot be used: {words}. Take this file from the model's own repository again"
        ) from error


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


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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


def device(spec: ModelSpec) -> torch.device:
    """Return the device that ``spec.device`` means on this machine.

    Raises:
        CheckpointError: a GPU is asked for that torch does not see here.
    """
    if spec.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(spec.device)
    except RuntimeError as error:
        raise CheckpointError(
            f"device: this torch knows no {spec.device}; use auto or cpu"
        ) from error
    # Counting opens no GPU, which would take memory from the workers.
    num_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if found.type == "cuda" and (found.index or 0) >= num_gpus:
        seen = f"{num_gpus} of them, from cuda:0 on" if num_gpus else "none"
        raise CheckpointError(
            f"device: {spec.device} asks for a GPU, and torch sees {seen}; use auto or cpu"
        )
    return found
