"""Find what is wrong with a checkpoint's files, before any of its weights are loaded.

Copies of checkpoints go wrong in a few ways, and the libraries that read them then name neither the
file nor the reason: Git LFS pointers, cut downloads, shards that are missing.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from encodeonce.datasets.strict_json import JsonError, parse_json, read_json

_POINTER = b"version https://git-lfs.github.com/spec/"
_INDEX = "model.safetensors.index.json"
_OBJECTS = (
    "added_tokens.json",
    "chat_template.json",
    "config.json",
    "generation_config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "video_preprocessor_config.json",
    "vocab.json",
    _INDEX,
)
"""Files that hold a JSON object, where they are there."""
_TEXTS = ("*.jinja", "*.model", "*.tiktoken", "*.txt")
_SHARD = re.compile(r"(.+)-(\d+)-of-(\d+)\.safetensors")
_MAX_HEADER = 100_000_000
"""Bytes: safetensors' own limit."""


class Problem(NamedTuple):
    """What is wrong with a file."""

    words: str
    """One clause that names the file and what was got."""
    is_pointer: bool = False
    """Whether the file is a Git LFS pointer."""


class _Damaged(ValueError):
    """A file is not what its name says."""


def find_problem(folder: Path) -> Problem | None:
    """Return the first thing that is wrong with a checkpoint's files; None if nothing is.

    Reads settings and the headers of weights, in the folder and in those of its parts. Other
    folders inside it may lack what they want: nothing reads them.
    """
    folders = [folder, *sorted(path.parent for path in folder.glob("*/config.json"))]
    try:
        for one in folders:
            if pointers := list(_pointers(one)):
                return Problem(_pointer_words(pointers), is_pointer=True)
        for one in folders:
            _check_settings(one)
            _check_weights(one)
    except _Damaged as error:
        return Problem(str(error))
    except OSError as error:
        return Problem(f"{error.filename} cannot be read: {error.strerror or error}")
    return None


def is_pointer(path: Path) -> bool:
    """Return whether a file is a Git LFS pointer, in place of what it points to."""
    with path.open("rb") as file:
        return file.read(len(_POINTER)) == _POINTER


def not_finite(model: nn.Module) -> str | None:
    """Return the name of the first weight that holds NaN or infinity; None if none does."""
    names, flags = [], []
    for name, tensor in model.state_dict().items():
        # Quantisers' own kinds of tensors cannot be asked.
        if type(tensor) is not torch.Tensor or not tensor.is_floating_point() or tensor.is_meta:
            continue
        if tensor.numel() and tensor.itemsize > 1:
            names.append(name)
            flags.append(torch.stack(torch.aminmax(tensor)).isfinite().all().cpu())
    wrong = [name for name, is_finite in zip(names, flags, strict=True) if not is_finite]
    return wrong[0] if wrong else None


def _pointers(folder: Path) -> Iterator[Path]:
    for pattern in ("*.safetensors", "*.json", *_TEXTS):
        for path in sorted(folder.glob(pattern)):
            if path.is_dir():
                raise _Damaged(f"{path} is a folder, and must be a file")
            if is_pointer(path):
                yield path


def _pointer_words(pointers: list[Path]) -> str:
    first, more = pointers[0], len(pointers) - 1
    others = f", and so {'is' if more == 1 else 'are'} {more} more" if more else ""
    return (
        f"{first} is a Git LFS pointer of {first.stat().st_size} bytes in place of the file "
        f"itself{others}"
    )


def _check_settings(folder: Path) -> None:
    for name in _OBJECTS:
        path = folder / name
        if path.is_file():
            found = path.stat()
            _check_object(path, found.st_size, found.st_mtime_ns)


@lru_cache(maxsize=256)
def _check_object(path: Path, size: int, mtime_ns: int) -> None:
    """Check a file; one that has not changed is not read again."""
    try:
        content = read_json(path, allow_nan=True)
    except JsonError as error:
        raise _Damaged(f"{error}") from error
    if not isinstance(content, dict):
        raise _Damaged(f"{path} must hold an object {{…}}; got a {type(content).__name__}")
    if path.name == "generation_config.json":
        _check_ends(path, content)
    if path.name == "tokenizer.json" and not isinstance(content.get("model"), dict):
        raise _Damaged(f"{path} is no tokenizer: it has no 'model'; got {_keys(content)}")


def _check_ends(path: Path, content: Mapping[str, Any]) -> None:
    """Check the tokens that end an answer: they are looked at only once the first one is due."""
    for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
        given = content.get(name)
        every = given if isinstance(given, list) and name == "eos_token_id" else [given]
        if any(one is not None and type(one) is not int for one in every):
            raise _Damaged(f"{path}: {name} must be a whole number; got {given!r}")


def _keys(content: Collection[str]) -> str:
    return f"the keys {', '.join(list(content)[:5])}" if content else "an empty object"


def _check_weights(folder: Path) -> None:
    names = {path: set(_header(path)) for path in sorted(folder.glob("*.safetensors"))}
    index = folder / _INDEX
    if index.is_file():
        _check_index(index, names)
        return
    for path in names:
        if (shard := _SHARD.fullmatch(path.name)) is None:
            continue
        stem, number, total = shard.groups()
        every = [
            f"{stem}-{n:0{len(number)}}-of-{total}.safetensors" for n in range(1, int(total) + 1)
        ]
        _refuse_missing(folder, every, f"of {int(total)} shards")
        if stem == "model":
            raise _Damaged(f"{folder} has the shard {path.name}, but no {_INDEX}")


def _check_index(index: Path, names: Mapping[Path, Collection[str]]) -> None:
    """Check that an index's shards are there, and hold what it says."""
    content = read_json(index, allow_nan=True)
    places = content.get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(one, str) for one in places.values()):
        raise _Damaged(f"{index} must have a 'weight_map' from weights to files")
    _refuse_missing(index.parent, sorted(set(places.values())), f"that {_INDEX} names")
    for weight, file in places.items():
        if weight not in names.get(index.parent / file, (weight,)):
            raise _Damaged(f"{index.parent / file} has no {weight}, which {_INDEX} says is there")


def _refuse_missing(folder: Path, files: Collection[str], which: str) -> None:
    missing = [name for name in files if not (folder / name).is_file()]
    if missing:
        raise _Damaged(
            f"{folder} lacks {missing[0]}"
            + (f" and {len(missing) - 1} more" if len(missing) > 1 else "")
            + f" {which}"
        )


def _header(path: Path) -> list[str]:
    """Return the names of a safetensors file's tensors; checks that all their bytes are there."""
    size = path.stat().st_size
    if size == 0:
        raise _Damaged(f"{path} is empty")
    with path.open("rb") as file:
        first = file.read(8)
        length = int.from_bytes(first, "little")
        if len(first) == 8 and length > _MAX_HEADER:
            got = first + file.read(24)
            raise _Damaged(f"{path} is no safetensors file; it begins with {got!r}")
        text = file.read(length)
    if len(first) < 8 or len(text) < length:
        raise _Damaged(f"{path} is cut: it ends after {size:,} bytes, in its header")
    try:
        header = parse_json(text)
        ends = [one["data_offsets"][1] for name, one in header.items() if name != "__metadata__"]
        whole = 8 + length + max(ends, default=0)
    except (JsonError, AttributeError, LookupError, TypeError) as error:
        raise _Damaged(f"{path} is no safetensors file: its header cannot be read") from error
    if size < whole:
        raise _Damaged(f"{path} is cut: it has {size:,} of its {whole:,} bytes")
    try:
        with safe_open(path, framework="pt") as opened:
            return list(opened.keys())
    except SafetensorError as error:
        raise _Damaged(f"{path} is no whole safetensors file: {error}") from error
