"""--model_args: lmms-eval's names for what a run file says."""

import pytest

from encodeonce.harness.config import AnswerConfig, ConfigError
from encodeonce.harness.lmms_eval.arguments import on_own_device, read_model_args


def test_lmms_evals_names_are_taken() -> None:
    arguments = read_model_args(
        {"pretrained": "demo", "store": "/cache", "batch_size": "4", "device": "cpu"}
    )
    assert arguments.model.path == "demo"
    assert str(arguments.cache.path) == "/cache"
    assert arguments.generation.max_batch == 4


def test_what_is_missing_is_encoded_and_answers_may_be_long_unless_told_otherwise() -> None:
    arguments = read_model_args({"pretrained": "demo", "store": "/cache"})
    assert arguments.cache.on_miss == "encode"
    assert arguments.generation.max_new_tokens == 1024
    assert read_model_args({"pretrained": "demo", "on_miss": "error"}).cache.on_miss == "error"


@pytest.mark.parametrize("name", ["max_frames_num", "max_batch", "path", "output", "benchmarks"])
def test_names_of_others_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=f"model_args: '{name}' is unknown. Allowed: .*window"):
        read_model_args({"pretrained": "demo", name: 8})


def test_a_batch_size_must_be_a_number() -> None:
    with pytest.raises(ConfigError, match="batch_size: .*got 'auto'"):
        read_model_args({"pretrained": "demo", "batch_size": "auto"})


def test_every_field_of_the_configuration_can_be_said() -> None:
    with pytest.raises(ConfigError) as caught:
        read_model_args({"pretrained": "demo", "?": 1})
    for name, field in AnswerConfig.model_fields.items():
        leaves = getattr(field.annotation, "model_fields", {name: None})
        for leaf in set(leaves) - {"path", "max_batch", "frames"}:
            assert f" {leaf}" in str(caught.value), f"{name}.{leaf}"


def test_without_a_gpu_each_process_stays_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "1")
    arguments = read_model_args({"pretrained": "demo", "device": "cpu"})
    assert on_own_device(arguments) == arguments


def test_each_process_has_its_own_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    arguments = read_model_args({"pretrained": "demo"})
    assert on_own_device(arguments).model.device == "auto"
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert on_own_device(arguments).model.device == "cuda:1"
    shared = read_model_args({"pretrained": "demo", "device": "cuda:0"})
    assert on_own_device(shared).model.device == "cuda:1"
