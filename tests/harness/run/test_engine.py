"""Tests of what a run file may ask of vLLM."""

from pathlib import Path
from typing import Any

import pytest

from encodeonce.harness.bridges.lmms_eval.arguments import MODEL_ARGS
from encodeonce.harness.run.config import ConfigError, RunConfig
from encodeonce.models.engine_spec import EngineSpec


def config(**more: Any) -> RunConfig:
    content = {"model": {"path": "demo"}, "benchmarks": [{"name": "demo"}], "output": "out"}
    return RunConfig.model_validate({**content, **more})


def test_transformers_decodes_by_default_and_leaves_old_fingerprints_alone() -> None:
    assert not config().engine.is_vllm
    assert "engine" not in config().answer_fields()
    assert config(engine="transformers").answer_fields() == config().answer_fields()


def test_vllm_is_another_run() -> None:
    fields = config(engine="vllm").answer_fields()
    assert fields["engine"]["name"] == "vllm"
    assert fields != config(engine={"name": "vllm", "kv_cache_dtype": "fp8"}).answer_fields()


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"kv": ["full", {"method": "snapkv", "compression_factor": 5}]}, "block tables"),
        ({"kv": [{"method": "full", "precision": "int8"}]}, "kv_cache_dtype: fp8"),
        ({"benchmarks": [{"name": "demo", "scoring": "choice_likelihood"}]}, "likelihoods"),
        ({"fidelity": True}, "fidelity"),
        ({"engine": {"name": "transformers", "kv_cache_gib": 2}}, "only for 'vllm'"),
        ({"engine": "sglang"}, "transformers"),
    ],
)
def test_what_vllm_lacks_is_refused_with_the_reason(more: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        config(**{"engine": "vllm", **more})


def test_lmms_eval_takes_it_as_a_model_argument(tmp_path: Path) -> None:
    given = {"pretrained": "demo", "store": str(tmp_path)}
    assert MODEL_ARGS.read({**given, "engine": "vllm"}).engine == EngineSpec(name="vllm")
    own = MODEL_ARGS.read({**given, "engine": "vllm", "engine.kv_cache_gib": "0.5"})
    assert own.engine.kv_cache_gib == 0.5
    with pytest.raises(ConfigError, match="block tables"):
        MODEL_ARGS.read({**given, "engine": "vllm", "kv": "snapkv", "kv.keep": "0.2"})
