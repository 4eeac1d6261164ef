"""Adapters beside quantised layers: rows of different adapters together are each alone."""

from pathlib import Path
from typing import Any

import pytest
import torch

from encodeonce.models.adapters.bank import AdapterBank
from encodeonce.models.checkpoint.decoder_layers import decoder_layers, linears
from encodeonce.models.checkpoint.rows import mixes_rows
from encodeonce.models.family import find_family
from encodeonce.models.language.adapting import BASE
from encodeonce.models.spec import ModelSpec, VisionSpec, WeightsSpec
from tests.models.adapters.made import factors, read, widths_of, write

IDS = torch.arange(10, 130).reshape(5, 24)
INDEX = (1, BASE, 0, 1, 0)
WEIGHTS: dict[str, tuple[str, dict[str, Any]]] = {
    "int4 kernel": ("bfloat16", {"method": "rtn", "options": {"kernel": "int4"}}),
    "rtn": ("float32", {"method": "rtn"}),
    "nf4": ("float32", {"method": "bnb-nf4"}),
    "torchao": ("bfloat16", {"method": "torchao-int8"}),
    "int8, which mixes rows": ("float32", {"method": "bnb-int8"}),
}


def model_of(case: str) -> Any:
    dtype, weights = WEIGHTS[case]
    spec = ModelSpec.model_validate({"path": "demo", "dtype": dtype, "device": "cpu"})
    family, folder = find_family(spec)
    return family.decoder(folder, spec, VisionSpec(), WeightsSpec(**weights)).model


def banked(model: Any, folder: Path) -> AdapterBank:
    widths = widths_of(model, ("q_proj", "v_proj", "down_proj"), "model.")
    found = []
    for seed, rank in enumerate((8, 3)):
        weights = factors(widths, rank, seed, size=0.1)
        found.append(read(write(folder / f"{seed}", weights, r=rank)))
    return AdapterBank(found, model)


@pytest.mark.parametrize("case", WEIGHTS)
def test_rows_together_are_each_alone(case: str, tmp_path: Path) -> None:
    model = model_of(case)
    kinds = {type(part) for layer in decoder_layers(model) for part in layer.modules()}

    def logits(rows: slice = slice(None)) -> torch.Tensor:
        with torch.inference_mode():
            return torch.as_tensor(model(input_ids=IDS[rows]).logits).float()

    base = logits()
    bank = banked(model, tmp_path)
    with bank.using(INDEX):
        mixed = logits()
    alone = []
    for row, number in enumerate(INDEX):
        with bank.using([number]):
            alone.append(logits(slice(row, row + 1)))
    difference = (mixed - torch.cat(alone)).abs().max()
    assert (mixed[0] - base[0]).abs().max() > 0.1
    assert kinds == {type(part) for layer in decoder_layers(model) for part in layer.modules()}
    if mixes_rows(model):  # without any adapter as well: such rows are decoded one by one
        assert difference > 1e-3
    else:
        assert difference <= 1e-6 * mixed.abs().max()
        assert torch.equal(mixed[1], base[1])


def test_an_int4_layer_is_no_linear_of_torch_and_is_adapted_all_the_same() -> None:
    model = model_of("int4 kernel")
    assert not linears(decoder_layers(model)[0])
    assert widths_of(model, ("q_proj",), "")["layers.0.self_attn.q_proj"] == (256, 256)
