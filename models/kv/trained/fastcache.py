"""Reads the checkpoints of FastCache's own compressors, which a user has to bring.

Their weights are neither shipped nor downloaded by us: the authors' repository names no licence for
them. A ``.pth`` is read by torch's weights-only reader, which executes nothing; the same names in
a ``.safetensors`` are read too.

Two layouts, by what the authors' code does with them (S. Zhu et al., 2025, arXiv:2503.08461):

- ``fastcache-linear-decouple`` (LLaVA): four nets a layer. All tokens up to the last visual one are
  merged by the image nets, the rest by the text nets.
- ``fastcache-hybrid`` (MiniCPM-V): the text nets merge all tokens; image nets in the file are not
  used.

Both replace a group by the net's output, and put the next token behind the entries that are left.

Shapes: L layers, D width of a head, f factor.
"""

import logging
import pickle
import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from encodeonce.models.checkpoint.integrity import is_pointer
from encodeonce.models.kv.trained.compressor import Compressor
from encodeonce.models.kv.trained.header import CompressorError, CompressorForm, CompressorHeader

logger = logging.getLogger(__name__)

FastCacheLayout = Literal["fastcache-linear-decouple", "fastcache-hybrid"]

_NAME = re.compile(r"compress_([ti][kv])\.(\d+)\.([036])\.(weight|bias)")
_NOT_USED = re.compile(r"attention\.\d+\.(weight|bias)")
_NETS = {"tk": ("text", "keys"), "tv": ("text", "values")}
_NETS |= {"ik": ("visual", "keys"), "iv": ("visual", "values")}
_MATRICES = {"0": 1, "3": 2, "6": 3}
"""By their places in the authors' torch.nn.Sequential, between which are activation and dropout."""


def fastcache_header(path: Path, layout: FastCacheLayout) -> CompressorHeader:
    """Return what a file's compressor is. It does not say which model it was trained for.

    Raises:
        CompressorError: the file cannot be read, or holds something else.
    """
    tensors = _tensors(path, layout)
    first = tensors["tk", 0, 1, "weight"]
    inner, inputs = first.shape
    width = tensors["tk", 0, 3, "weight"].shape[0]
    if inputs % width or inputs == width:
        raise CompressorError(
            f"{path}: compress_tk.0.0.weight takes {inputs} inputs, which is no multiple of the "
            f"head's width {width}"
        )
    form = CompressorForm(
        factor=inputs // width,
        nets="by_modality" if layout == "fastcache-linear-decouple" else "shared",
        text="compress",
        segments="visual_then_text" if layout == "fastcache-linear-decouple" else "whole",
        skip="none",
        positions="compressed",
        hidden=None if inner == width else inner,
    )
    num_layers = 1 + max(layer for _, layer, _, _ in tensors)
    return CompressorHeader(
        **form.model_dump(), layers=tuple(range(num_layers)), head_width=width, model=path.name
    )


def load_fastcache(path: Path, layout: FastCacheLayout) -> Compressor:
    """Return a file's nets, frozen, on the CPU in float32.

    Raises:
        CompressorError: tensors are missing, or do not fit one another.
    """
    header = fastcache_header(path, layout)
    tensors = _tensors(path, layout)
    with torch.device("meta"):
        compressor = Compressor(header.form(), len(header.layers), header.head_width)
    expected = compressor.state_dict()
    state: dict[str, torch.Tensor] = {}
    for net, (kind, side) in _NETS.items():
        if kind == "visual" and header.nets == "shared":
            continue
        for matrix in _MATRICES.values():
            for part in ("weight", "bias"):
                name = f"nets.{'any' if header.nets == 'shared' else kind}_{side}.{part}{matrix}"
                rows = [tensors.get((net, layer, matrix, part)) for layer in header.layers]
                state[name] = _stacked(path, net, matrix, rows, expected[name].shape)
    compressor.load_state_dict(state, assign=True)
    return compressor.requires_grad_(requires_grad=False).eval()


def _stacked(
    path: Path, net: str, matrix: int, rows: list[torch.Tensor | None], shape: torch.Size
) -> torch.Tensor:
    """Return a matrix of every layer, (L, inputs, outputs), or a bias, (L, 1, outputs)."""
    (place,) = (place for place, number in _MATRICES.items() if number == matrix)
    found = []
    for layer, row in enumerate(rows):
        name = f"compress_{net}.{layer}.{place}"
        if row is None:
            raise CompressorError(f"{path} lacks {name}")
        turned = row.float().T.contiguous() if row.dim() == 2 else row.float()[None]
        if turned.shape != shape[1:]:
            raise CompressorError(
                f"{path}: {name} must be {tuple(shape[1:])} (inputs, outputs); got "
                f"{tuple(turned.shape)}"
            )
        found.append(turned)
    return torch.stack(found)


_Key = tuple[str, int, int, str]
"""Net, layer, matrix, ``weight`` or ``bias``."""


def _tensors(path: Path, layout: FastCacheLayout) -> Mapping[_Key, torch.Tensor]:
    try:
        stat = path.stat()
    except OSError as error:
        raise CompressorError(f"{path} cannot be read: {error.strerror}") from error
    return _read(path, layout, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=2)
def _read(
    path: Path, layout: FastCacheLayout, mtime_ns: int, size: int
) -> Mapping[_Key, torch.Tensor]:
    """Return a file's tensors; one that has not changed is not read again."""
    found: dict[_Key, torch.Tensor] = {}
    for name, value in _state(_opened(path)).items():
        parts = _NAME.fullmatch(name)
        if parts is None:
            if not _NOT_USED.fullmatch(name):
                raise CompressorError(
                    f"{path} holds {name!r}, which is not FastCache's; expected "
                    "compress_{tk,tv,ik,iv}.LAYER.{0,3,6}.{weight,bias}"
                )
            continue
        net, layer, place, part = parts.groups()
        found[net, int(layer), _MATRICES[place], part] = value
    for first in (("tk", 0, 1, "weight"), ("tk", 0, 3, "weight")):
        if first not in found or found[first].dim() != 2:
            raise CompressorError(f"{path} has no nets for text keys (compress_tk.0.0.weight, …)")
    if layout == "fastcache-hybrid" and any(net in ("ik", "iv") for net, *_ in found):
        logger.info("%s: the image nets are not used in layout fastcache-hybrid", path)
    return found


def _opened(path: Path) -> Any:
    if path.is_dir():
        raise CompressorError(f"{path} is a folder; give FastCache's file, or layout: encodeonce")
    if is_pointer(path):
        raise CompressorError(
            f"{path} is a Git LFS pointer, not the weights. Type: git -C {path.parent} lfs pull"
        )
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        raise CompressorError(
            f"{path} holds more than tensors and is not read: unpickling it would execute code. "
            "Save its state_dict alone"
        ) from error
    except (SafetensorError, RuntimeError, EOFError, OSError, ValueError) as error:
        words = str(error).partition("\n")[0]
        raise CompressorError(f"{path} is not a checkpoint that can be read: {words}") from error


def _state(content: Any) -> dict[str, torch.Tensor]:
    """Return the compressor's tensors by name, wherever a training script has put them."""
    for key in ("model_state_dict", "compressor"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    is_dict = isinstance(content, dict)
    is_flat = is_dict and all(
        isinstance(name, str) and isinstance(value, torch.Tensor) for name, value in content.items()
    )
    if not is_flat or not content:
        keys = f"the keys {', '.join(map(str, list(content)[:5]))}" if is_dict else "no dict"
        raise CompressorError(
            "the file must hold tensors by name, perhaps under model_state_dict and compressor; "
            f"got {keys}"
        )
    return {str(name): value for name, value in content.items()}
