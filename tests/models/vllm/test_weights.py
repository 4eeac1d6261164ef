"""Tests of which weight variants vLLM is asked for, and of why not for the others."""

import json
from pathlib import Path
from typing import Any

import pytest

from encodeonce.models.checkpoint.files import DEMO_CHECKPOINT
from encodeonce.models.quantization.registry import quantizer_names
from encodeonce.models.spec import NONE, WeightsSpec
from encodeonce.models.vllm import weights as vllm_weights
from encodeonce.models.vllm.weights import loading_arguments, why_not

NEEDING_A_PATH = {"awq", "checkpoint"}
BNB = WeightsSpec(method="bnb-nf4", options={"double_quant": True})


def spec(given: Any) -> WeightsSpec:
    return WeightsSpec.model_validate(given)


def refusal(
    weights: WeightsSpec, folder: Path = DEMO_CHECKPOINT, dtype: str = "bfloat16"
) -> str | None:
    return why_not(weights, folder, dtype)


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Say that the plugin for bitsandbytes is there."""
    monkeypatch.setattr(vllm_weights, "find_spec", lambda name: object())


@pytest.fixture
def absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vllm_weights, "find_spec", lambda name: None)


def test_the_checkpoints_own_weights_need_no_arguments() -> None:
    for weights in (NONE, spec({"method": "checkpoint", "path": "somewhere"})):
        assert refusal(weights) is None
        assert loading_arguments(weights) == {}


@pytest.mark.parametrize(
    ("method", "kind"),
    [("torchao-int8", "Int8WeightOnlyConfig"), ("torchao-fp8", "Float8WeightOnlyConfig")],
)
def test_torchao_is_asked_for_what_transformers_is(method: str, kind: str) -> None:
    assert refusal(spec(method)) is None
    arguments = loading_arguments(spec(method))
    assert arguments["quantization"] == "torchao"
    settings = json.loads(arguments["hf_overrides"]["quantization_config_dict_json"])
    assert settings["_type"] == kind


@pytest.mark.usefixtures("installed")
def test_bitsandbytes_quantises_scales_too_or_not_at_all() -> None:
    assert refusal(BNB) is None
    assert loading_arguments(BNB) == {"quantization": "bitsandbytes"}
    assert "double_quant: true" in str(refusal(spec("bnb-nf4")))
    assert "write model.dtype: bfloat16" in str(refusal(BNB, dtype="float32"))


@pytest.mark.usefixtures("absent")
def test_bitsandbytes_without_its_plugin_says_what_to_install(tmp_path: Path) -> None:
    assert "pip install vllm-bnb-plugin" in str(refusal(BNB))
    stored = {"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llava", **stored}))
    for weights in (NONE, spec({"method": "checkpoint", "path": str(tmp_path)})):
        assert "pip install vllm-bnb-plugin" in str(refusal(weights, tmp_path))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("rtn", "encodeonce quantize --method rtn"),
        ("bnb-fp4", "write bnb-nf4"),
        ("bnb-int8", "write torchao-int8"),
        ({"method": "rtn", "path": "x", "options": {"kernel": "int4"}}, "leave options away"),
    ],
)
def test_others_are_refused_with_what_to_write(given: Any, words: str) -> None:
    assert words in str(refusal(spec(given)))


@pytest.mark.usefixtures("installed")
def test_every_method_is_asked_for_or_refused_with_a_reason_of_its_own() -> None:
    for name in set(quantizer_names()) - NEEDING_A_PATH:
        words = refusal(spec(name))
        assert words != "vLLM has no such method", name


PACKED = {
    "quant_method": "compressed-tensors",
    "config_groups": {"group_0": {"weights": {"num_bits": 4, "type": "int"}}},
}


@pytest.mark.parametrize(
    ("capability", "stored", "is_refused"),
    [
        ("AVX2", PACKED, True),
        ("AVX2", {"quant_method": "awq", "bits": 4}, True),
        ("AVX2", {"quant_method": "gptq", "bits": 8}, False),
        ("AVX512", PACKED, False),
    ],
)
def test_4_bits_are_refused_where_vllm_has_no_kernel_for_them(
    capability: str,
    stored: dict[str, Any],
    is_refused: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(vllm_weights.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(vllm_weights.torch.cuda, "is_available", lambda: False)
    cpu = vllm_weights.torch.backends.cpu
    monkeypatch.setattr(cpu, "get_cpu_capability", lambda: capability)
    config = {"model_type": "llava", "quantization_config": stored}
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    words = refusal(spec({"method": "checkpoint", "path": str(tmp_path)}), tmp_path)
    assert ("AVX-512" in (words or "")) is is_refused
