"""Compressors with random weights, for tests."""

from pathlib import Path
from typing import Any

import torch

from encodeonce.models.checkpoint.files import DEMO_CHECKPOINT, load_config
from encodeonce.models.kv.trained.compressor import Compressor, new_compressor
from encodeonce.models.kv.trained.files import write_compressor
from encodeonce.models.kv.trained.header import CompressorForm, CompressorHeader
from encodeonce.models.language.context import head_shape

DEMO_LAYERS, DEMO_WIDTH = head_shape(load_config(DEMO_CHECKPOINT))
"""Of the demo's language model: layers, and width of a head."""


def random_compressor(form: CompressorForm, num_layers: int, width: int) -> Compressor:
    """Return nets whose every weight matters: new ones end in zeros."""
    compressor = new_compressor(form, num_layers, width, dropout=0.0, seed=0)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in compressor.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return compressor.eval()


def write_random(folder: Path, layers: tuple[int, ...], width: int, **form: Any) -> Path:
    """Write a random compressor for some layers of a model; of factor 4 unless ``form`` says so."""
    header = CompressorHeader(
        **{"factor": 4, **form}, layers=layers, head_width=width, model="tiny"
    )
    folder.mkdir(parents=True)
    write_compressor(folder, header, random_compressor(header.form(), len(layers), width))
    return folder
