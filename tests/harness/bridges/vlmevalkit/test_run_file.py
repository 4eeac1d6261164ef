"""The run file for VLMEvalKit: an ordinary one, with other defaults."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from encodeonce.harness.bridges.vlmevalkit.run_file import KitConfig
from encodeonce.harness.run.config import ConfigError, RunConfig
from encodeonce.harness.run.read_config import load_run_file


def load(tmp_path: Path, **content: Any) -> KitConfig:
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump({"model": {"path": "demo"}, **content}), encoding="utf-8")
    return load_run_file(path, KitConfig)


def test_a_model_is_enough_and_what_is_missing_is_encoded(tmp_path: Path) -> None:
    config = load(tmp_path)
    assert config.cache.on_miss == "encode"
    assert config.vlmevalkit.name == "encodeonce"
    assert config.unused == ()
    assert load(tmp_path, cache={"on_miss": "error"}).cache.on_miss == "error"
    assert load(tmp_path, cache={"codec": "raw"}).cache.on_miss == "encode"


def test_every_key_of_a_run_file_is_understood(tmp_path: Path) -> None:
    assert set(RunConfig.model_fields) < set(KitConfig.model_fields)
    config = load(tmp_path, output="out", limit=3, frames={"policy": "fps", "fps": 1})
    assert config.unused == ("output", "limit")


def test_every_variant_is_a_model(tmp_path: Path) -> None:
    assert list(load(tmp_path).models) == ["encodeonce"]
    alone = load(tmp_path, kv=[{"method": "snapkv", "keep": 0.5}])
    [(name, (weights, kv, adapter))] = alone.models.items()
    assert adapter is None
    assert (name, weights.title, kv.title) == ("encodeonce", "none", "snapkv@0.5")
    several = load(tmp_path, kv=["full", {"method": "snapkv", "keep": 0.5}])
    assert list(several.models) == ["encodeonce-none_full", "encodeonce-none_snapkv_0.5"]
    adapted = load(tmp_path, adapters=["none", "a/counting", {"path": "b", "label": "c d"}])
    names = ["encodeonce-none_full", "encodeonce-none+counting_full", "encodeonce-none+c_d_full"]
    assert list(adapted.models) == names
    assert [adapter and adapter.title for *_, adapter in adapted.models.values()] == [
        None,
        "counting",
        "c d",
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"vlmevalkit": {"nam": "x"}}, r"vlmevalkit\.nam: unknown key.*Did you mean 'name'"),
        ({"framse": {}}, "framse: unknown key.*Did you mean 'frames'"),
        ({"cache": "here"}, "cache"),
        ({"vlmevalkit": {"name": "a/b"}}, r"vlmevalkit\.name"),
        ({"vlmevalkit": {"resident_prefixes": 0}}, r"resident_prefixes: must be at least 1"),
        ({"benchmarks": [{"name": "demo"}, {"name": "demo"}]}, "two are named 'demo'"),
        ({"benchmarks": [{"name": "demo", "label": "a/b"}]}, "becomes a file name"),
        ({"benchmarks": [{"name": "demo", "scoring": "nll"}]}, "only scoring: generate"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path: Path, content: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(tmp_path, **content)
