"""Reading peft's files: what is read, and what is refused by name with what to do."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from encodeonce.models.adapters.checkpoint import read_adapter
from encodeonce.models.adapters.lora_config import AdapterError
from encodeonce.models.adapters.spec import AdapterSpec
from encodeonce.models.checkpoint.files import CheckpointError
from tests.models.adapters.made import factors, read, write

PATH = "model.layers.0.self_attn.q_proj"
WIDTHS = {PATH: (6, 8), "model.layers.1.mlp.up_proj": (6, 10)}


@pytest.mark.parametrize(
    ("fields", "rank", "scaling"),
    [
        ({}, 4, 2.0),
        ({"use_rslora": True}, 4, 8 / math.sqrt(4)),
        ({"lora_alpha": 3}, 4, 0.75),
        ({"alpha_pattern": {"q_proj": 2}}, 4, 0.5),
        ({"r": 16, "rank_pattern": {"q_proj": 4, "up_proj": 4}}, 4, 2.0),
        ({"r": 16, "rank_pattern": {r"layers\.\d\..*_proj": 4}, "lora_alpha": 2}, 4, 0.5),
        ({"rank_pattern": {"proj": 9, "v_proj": 9}}, 4, 2.0),  # match ends of names, whole words
        ({"init_lora_weights": "gaussian", "layers_to_transform": [0, 1]}, 4, 2.0),
        ({"init_lora_weights": "eva", "eva_config": {"rho": 2.0}}, 4, 2.0),
        ({"init_lora_weights": False, "a_later_field": None}, 4, 2.0),
    ],
)
def test_ranks_and_scalings(
    tmp_path: Path, fields: Mapping[str, Any], rank: int, scaling: float
) -> None:
    adapter = read(write(tmp_path / "one", factors(WIDTHS, rank), **fields))
    product = adapter.products[PATH]
    assert (product.rank, product.scaling) == (rank, pytest.approx(scaling))
    assert (adapter.title, adapter.base) == ("one", "a/model")
    assert set(adapter.products) == set(WIDTHS)


def test_factors_are_float32_whatever_is_stored(tmp_path: Path) -> None:
    halves = {name: one.bfloat16() for name, one in factors(WIDTHS).items()}
    product = read(write(tmp_path, halves)).products[PATH]
    assert product.a.dtype == product.b.dtype == torch.float32
    assert (product.a == halves[f"base_model.model.{PATH}.lora_A.weight"].float()).all()


def test_a_bias_of_b_is_read(tmp_path: Path) -> None:
    bias = {f"base_model.model.{path}.lora_B.bias": torch.ones(w[1]) for path, w in WIDTHS.items()}
    product = read(write(tmp_path, {**factors(WIDTHS), **bias}, lora_bias=True)).products[PATH]
    assert product.bias is not None and product.bias.tolist() == [1.0] * 8


REFUSED_FIELDS: list[tuple[str, Any, str]] = [
    ("use_dora", True, "merge_and_unload"),
    ("modules_to_save", ["lm_head"], "merge_and_unload"),
    ("trainable_token_indices", [1], "merge_and_unload"),
    ("target_parameters", ["mlp.experts.gate_up_proj"], "merge_and_unload"),
    ("fan_in_fan_out", True, "merge_and_unload"),
    ("bias", "all", "merge_and_unload"),
    ("bias", "lora_only", "merge_and_unload"),
    ("layer_replication", [[0, 2], [1, 3]], "layers"),
    ("alora_invocation_tokens", ["x"], "must be a list of token ids"),
    ("alora_invocation_tokens", 5, "must be a list of token ids"),
    ("alora_invocation_tokens", [True], "must be a list of token ids"),
    ("alora_invocation_tokens", [], "must be a list of token ids"),
    ("use_qalora", True, "plain LoRA"),
    ("use_bdlora", {"nblocks": 2}, "plain LoRA"),
    ("arrow_config", {"top_k": 3}, "plain LoRA"),
    ("kasa_config", {"beta": 1e-4}, "plain LoRA"),
    ("velora_config", {"rank": 1}, "plain LoRA"),
    ("monteclora_config", {"samples": 4}, "plain LoRA"),
    *(
        ("init_lora_weights", name, "path_initial_model_for_weight_conversion")
        for name in ("pissa", "pissa_niter_4", "olora", "corda", "loftq", "lora_ga", "mica", 3)
    ),
    ("megatron_config", {"tp": 2}, "delete the field"),
    ("ensure_weight_tying", True, "delete the field"),
    ("a_later_field", "on", "delete the field"),
]


@pytest.mark.parametrize(("field", "value", "advice"), REFUSED_FIELDS)
def test_what_is_more_than_two_factors_is_refused_by_name(
    tmp_path: Path, field: str, value: Any, advice: str
) -> None:
    write(tmp_path, factors(WIDTHS), **{field: value})
    with pytest.raises(AdapterError, match=field) as refused:
        read(tmp_path)
    assert advice in str(refused.value) and "adapter_config.json" in str(refused.value)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"peft_type": "IA3"}, "peft_type is 'IA3'; LORA is handled"),
        ({"peft_type": None}, "LORA is handled"),
        ({"r": 0}, "r must be a whole number above 0; got 0"),
        ({"r": "8"}, "r must be a whole number"),
        ({"r": True}, "r must be a whole number"),
        ({"lora_alpha": -1}, "lora_alpha must be a number above 0"),
        ({"use_rslora": "yes"}, "use_rslora must be true or false"),
        ({"rank_pattern": [4]}, "rank_pattern must be an object"),
        ({"rank_pattern": {"q_proj": 2.5}}, "rank_pattern 'q_proj' must be a whole number"),
        ({"alpha_pattern": {"(": 4}}, "is no pattern"),
        ({"r": 16}, "gives model.layers.0.self_attn.q_proj the rank 16, and its weights have 4"),
        ({"lora_bias": True}, "has no bias"),
    ],
)
def test_a_configuration_that_cannot_be_meant(
    tmp_path: Path, fields: Mapping[str, Any], words: str
) -> None:
    write(tmp_path, factors(WIDTHS), **fields)
    with pytest.raises(AdapterError) as refused:
        read(tmp_path)
    assert words in str(refused.value)


KEY = f"base_model.model.{PATH}"


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({f"{KEY}.lora_magnitude_vector": torch.ones(8)}, "DoRA"),
        ({"base_model.model.model.embed_tokens.lora_embedding_A": torch.ones(4, 9)}, "embedding"),
        ({"base_model.model.score.weight": torch.ones(9, 6)}, "a weight of the model itself"),
        ({f"{KEY}.bias": torch.ones(8)}, "a weight of the model itself"),
        ({"base_model.model.a.base_layer.lora_A.weight": torch.ones(4, 6)}, "no factor of"),
        ({"transformer.q.lora_A.weight": torch.ones(4, 6)}, "no factor of"),
        ({"base_model.model.conv.lora_A.weight": torch.ones(4, 6)}, "conv lacks lora_B"),
        ({f"{KEY}.lora_A.weight": torch.ones(3, 6)}, "no rank in common"),
        ({f"{KEY}.lora_A.weight": torch.ones(4, 6, 1)}, "no linear layer"),
        ({f"{KEY}.lora_A.weight": torch.full((4, 6), math.nan)}, "NaN"),
        ({f"{KEY}.lora_A.weight": torch.ones(4, 6, dtype=torch.int8)}, "floating point"),
        ({f"{KEY}.lora_B.bias": torch.ones(7)}, "no rank in common"),
        ({f"{KEY}.lora_B.bias": torch.ones(8)}, "has a bias"),
    ],
)
def test_weights_that_are_not_two_factors(
    tmp_path: Path, more: Mapping[str, torch.Tensor], words: str
) -> None:
    write(tmp_path, {**factors(WIDTHS), **more})
    with pytest.raises(AdapterError, match="adapter_") as refused:
        read(tmp_path)
    assert words in str(refused.value)


def test_a_folder_that_is_no_adapter(tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match=r"no adapter_config\.json; give a folder that peft"):
        read(tmp_path)
    folder = write(tmp_path / "pickled", factors(WIDTHS))
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    with pytest.raises(AdapterError, match=r"adapter_model\.bin; pickles are not read"):
        read(folder)


def test_no_folder_at_all(tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match="neither a folder here nor a hub repository"):
        read(tmp_path / "nowhere" / "at" / "all")


def test_damaged_files(tmp_path: Path) -> None:
    folder = write(tmp_path / "cut", factors(WIDTHS))
    weights = folder / "adapter_model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match="cannot be used"):
        read(folder)
    weights.write_bytes(b"")
    with pytest.raises(CheckpointError, match="cannot be used"):
        read(folder)
    save_file({}, weights)
    with pytest.raises(AdapterError, match="holds no weights"):
        read(folder)


def test_a_configuration_that_is_no_json(tmp_path: Path) -> None:
    folder = write(tmp_path, factors(WIDTHS))
    (folder / "adapter_config.json").write_text("[1, 2", encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"adapter_config\.json: it is not JSON"):
        read(folder)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"path": "a", "label": "x/y"}, "contains /"),
        ({"path": "a+b"}, "contains +"),
        ({"path": "here/none"}, "means the base"),
        ({"path": ""}, "at least 1 character"),
        ({"path": "a", "scale": 2}, "scale"),
    ],
)
def test_names_that_would_be_misread(given: Mapping[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match="label|character|scale") as refused:
        AdapterSpec.model_validate(given)
    assert words in str(refused.value)


def test_a_title_is_the_label_or_the_folders_name() -> None:
    assert AdapterSpec.model_validate("adapters/counting/").title == "counting"
    assert AdapterSpec(path="adapters/counting", label="one").title == "one"


def test_reading_changes_no_file(tmp_path: Path) -> None:
    folder = write(tmp_path, factors(WIDTHS))
    before = load_file(folder / "adapter_model.safetensors")
    read_adapter(AdapterSpec(path=str(folder)))
    after = load_file(folder / "adapter_model.safetensors")
    assert all((before[name] == after[name]).all() for name in before)
    assert json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))["r"] == 4
