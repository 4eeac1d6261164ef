"""--model_args: lmms-eval's names for what a run file says."""

import pytest

from encodeonce.harness.bridges.lmms_eval.arguments import MODEL_ARGS, on_own_device
from encodeonce.harness.run.config import ConfigError


def test_lmms_evals_names_are_taken() -> None:
    arguments = MODEL_ARGS.read(
        {"pretrained": "demo", "store": "/cache", "batch_size": "4", "device": "cpu"}
    )
    assert arguments.model.path == "demo"
    assert str(arguments.cache.path) == "/cache"
    assert arguments.generation.max_batch == 4


def test_what_is_missing_is_encoded_and_answers_may_be_long_unless_told_otherwise() -> None:
    arguments = MODEL_ARGS.read({"pretrained": "demo", "store": "/cache"})
    assert arguments.cache.on_miss == "encode"
    assert arguments.generation.max_new_tokens == 1024
    assert MODEL_ARGS.read({"pretrained": "demo", "on_miss": "error"}).cache.on_miss == "error"


@pytest.mark.parametrize("name", ["max_frames_num", "max_batch", "output", "benchmarks"])
def test_names_of_others_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=f"model_args: '{name}' is unknown. Allowed: .*window"):
        MODEL_ARGS.read({"pretrained": "demo", name: 8})


def test_a_batch_size_must_be_a_number() -> None:
    with pytest.raises(ConfigError, match="batch_size: .*got 'auto'"):
        MODEL_ARGS.read({"pretrained": "demo", "batch_size": "auto"})


def test_a_variant_can_be_said() -> None:
    given = {"pretrained": "demo", "weights": "rtn", "kv": "snapkv", "kv.keep": 0.5}
    arguments = MODEL_ARGS.read(given)
    assert (arguments.weights.method, arguments.kv.title) == ("rtn", "snapkv@0.5")


def test_without_a_gpu_each_process_stays_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "1")
    arguments = MODEL_ARGS.read({"pretrained": "demo", "device": "cpu"})
    assert on_own_device(arguments) == arguments


def test_each_process_has_its_own_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    arguments = MODEL_ARGS.read({"pretrained": "demo"})
    assert on_own_device(arguments).model.device == "auto"
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert on_own_device(arguments).model.device == "cuda:1"
    shared = MODEL_ARGS.read({"pretrained": "demo", "device": "cuda:0"})
    assert on_own_device(shared).model.device == "cuda:1"


def test_an_adapter_can_be_said() -> None:
    given = {"pretrained": "demo", "adapter": "adapters/counting", "adapter.label": "c"}
    adapter = MODEL_ARGS.read(given).adapter
    assert adapter is not None and (adapter.path, adapter.title) == ("adapters/counting", "c")
    plain = MODEL_ARGS.read({"pretrained": "demo"})
    assert plain.adapter is None and plain.variant.name == "none/full"
    assert MODEL_ARGS.read({"pretrained": "demo", "adapter": "none"}).adapter is None
    both = MODEL_ARGS.read({**given, "kv": "snapkv", "kv.keep": 0.5})
    assert both.variant.name == "none+c/snapkv@0.5"
    with pytest.raises(ConfigError, match=r"adapter.*contains \+"):
        MODEL_ARGS.read({"pretrained": "demo", "adapter": "a+b"})
