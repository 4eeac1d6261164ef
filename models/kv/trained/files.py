"""Reads and writes compressors: a folder with ``compressor.json`` and safetensors."""

import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save

from encodeonce.cache_store import durable
from encodeonce.models.checkpoint.integrity import find_problem
from encodeonce.models.kv.trained.compressor import Compressor
from encodeonce.models.kv.trained.header import HEADER, CompressorError, CompressorHeader

WEIGHTS = "compressor.safetensors"


def check_weights(folder: Path, header: CompressorHeader) -> Compressor:
    """Refuse weights that do not fit the header; return nets without weights. Reads no tensor.

    Raises:
        CompressorError: the weights are missing or damaged, or do not fit the header.
    """
    path = folder / WEIGHTS
    if not path.is_file():
        raise CompressorError(f"{folder} has no {WEIGHTS}")
    if (problem := find_problem(folder)) is not None:
        pull = f". Type: git -C {folder} lfs pull" if problem.is_pointer else ""
        raise CompressorError(f"{problem.words}{pull}")
    with torch.device("meta"):
        compressor = Compressor(header.form(), len(header.layers), header.head_width)
    expected = {name: tuple(one.shape) for name, one in compressor.state_dict().items()}
    try:
        with safe_open(path, framework="pt") as file:
            got = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise CompressorError(f"{path} cannot be read: {error}") from error
    if got != expected:
        name = sorted(set(got.items()) ^ set(expected.items()))[0][0]
        raise CompressorError(
            f"{path} does not fit {HEADER}: {name} must be {expected.get(name, 'left out')}; got "
            f"{got.get(name, 'none')}"
        )
    return compressor


def load_weights(folder: Path, header: CompressorHeader) -> Compressor:
    """Return a compressor's nets, frozen, on the CPU in float32.

    Raises:
        CompressorError: see `check_weights`.
    """
    compressor = check_weights(folder, header)
    compressor.load_state_dict(load_file(folder / WEIGHTS), assign=True)
    return compressor.float().requires_grad_(requires_grad=False).eval()


def write_compressor(folder: Path, header: CompressorHeader, compressor: Compressor) -> None:
    """Write a compressor into an empty folder; the header last.

    Raises:
        OSError: it cannot be written. (``save_file`` would hide the system's reason.)
    """
    state = {name: one.detach().cpu().contiguous() for name, one in compressor.state_dict().items()}
    durable.write_new(folder / WEIGHTS, save(state, metadata={"format": "pt"}))
    durable.write_new(folder / HEADER, header_text(header))


def header_text(header: CompressorHeader) -> bytes:
    """Return what ``compressor.json`` holds."""
    return (json.dumps(header.model_dump(mode="json"), indent=2) + "\n").encode()
