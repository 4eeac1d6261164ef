"""Reading run files: what is refused, and what changes a run's identity."""

import json
from pathlib import Path

import pytest
import yaml

import encodeonce.datasets.prompts as prompts
from encodeonce.harness.run.config import ConfigError, RunConfig
from encodeonce.harness.run.read_config import load_config, load_run_file
from encodeonce.harness.training.fusion.config import FuseConfig

MINIMAL = {"model": {"path": "demo"}, "benchmarks": [{"name": "demo"}], "output": "out"}


def load(tmp_path: Path, content: object) -> RunConfig:
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return load_config(path)


def test_a_minimal_run_file_is_enough(tmp_path: Path) -> None:
    config = load(tmp_path, MINIMAL)
    assert config.workers.num_workers == 2
    assert config.cache.on_miss == "error"


def test_the_demos_run_files_are_understood() -> None:
    folder = Path(prompts.__file__).parent / "demo"
    variants = load_config(folder / "variants.yaml")
    assert load_config(folder / "run.yaml").cache == variants.cache
    assert (len(variants.weights), len(variants.kv)) == (2, 19)


def test_the_demos_adapters_are_those_that_its_fusion_makes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(prompts.__file__).parent / "demo"
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="give the adapters.json that `encodeonce fuse adapters`"):
        load_config(folder / "adapters.yaml")
    fused = load_run_file(folder / "fuse.yaml", FuseConfig).output
    fused.mkdir(parents=True)
    names = {f"fused-{n}": {"path": f"fused-{n}"} for n in (1, 2)}
    (fused / "adapters.json").write_text(json.dumps({"adapters": names}))
    config = load_config(folder / "adapters.yaml")
    titles = [None if one is None else one.title for one in config.adapters]
    assert titles == [None, "fused-1", "fused-2"]
    assert (len(config.weights), len(config.kv)) == (2, 3)


def test_an_unknown_key_is_refused_with_the_allowed_ones_and_a_guess(tmp_path: Path) -> None:
    content = {**MINIMAL, "workers": {"executer": "ray"}}
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, content)
    message = str(caught.value)
    assert "workers.executer: unknown key" in message
    assert "num_workers" in message
    assert "Did you mean 'executor'?" in message


def test_every_problem_of_a_file_is_named_at_once(tmp_path: Path) -> None:
    content = {"model": {"path": "demo", "dtype": "int3"}, "benchmarks": [], "colour": 1}
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, content)
    for word in ("model.dtype", "int3", "benchmarks", "colour", "output"):
        assert word in str(caught.value)


def test_an_unknown_key_inside_a_list_is_located(tmp_path: Path) -> None:
    content = {**MINIMAL, "benchmarks": [{"name": "demo"}, {"nam": "demo"}]}
    with pytest.raises(ConfigError, match=r"benchmarks\.1\.nam: unknown key.*Did you mean 'name'"):
        load(tmp_path, content)


def test_an_unknown_key_of_a_sampling_policy_is_located(tmp_path: Path) -> None:
    content = {**MINIMAL, "frames": {"policy": "fps", "fps": 1, "max_frame": 8}}
    with pytest.raises(ConfigError, match="max_frame: unknown key.*Did you mean 'max_frames'"):
        load(tmp_path, content)


@pytest.mark.parametrize("text", ["- a list", "just words", "{unclosed"])
def test_what_is_not_a_mapping_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"run\.yaml"):
        load_config(path)


def test_a_missing_file_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read the run file"):
        load_config(tmp_path / "absent.yaml")


@pytest.mark.parametrize(
    "change",
    [
        {"workers": {"executor": "local"}},
        {"cache": {"path": "elsewhere"}},
        {"output": "other"},
        {"limit": 3},
        {"check_uncached": "all"},
        {"model": {"path": "demo", "device": "cpu"}},
    ],
)
def test_what_changes_no_answer_does_not_change_the_identity(
    tmp_path: Path, change: dict[str, object]
) -> None:
    base, changed = load(tmp_path, MINIMAL), load(tmp_path, {**MINIMAL, **change})
    assert base.answer_fields() == changed.answer_fields()


@pytest.mark.parametrize(
    "change",
    [
        {"model": {"path": "demo", "dtype": "float32"}},
        {"frames": {"policy": "uniform_interior", "num_frames": 8}},
        {"video_backend": "auto"},
        {"vision": {"tap": "projected"}},
        {"vision": {"micro_batch": 2}},
        {"generation": {"max_new_tokens": 7}},
        {"benchmarks": [{"name": "demo", "options": {"split": "all"}}]},
    ],
)
def test_what_can_change_an_answer_changes_the_identity(
    tmp_path: Path, change: dict[str, object]
) -> None:
    base, changed = load(tmp_path, MINIMAL), load(tmp_path, {**MINIMAL, **change})
    assert base.answer_fields() != changed.answer_fields()


def test_a_key_by_its_old_name_is_read_with_a_hint(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = load(tmp_path, {**MINIMAL, "decoder": "pyav"})
    assert config == load(tmp_path, {**MINIMAL, "video_backend": "pyav"})
    (hint,) = caplog.messages
    assert "run.yaml: decoder: is now video_backend:" in hint


def test_a_key_by_both_names_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"decoder is the old name of video_backend") as caught:
        load(tmp_path, {**MINIMAL, "decoder": "pyav", "video_backend": "pyav"})
    assert "demo" not in str(caught.value)


def test_old_names_are_allowed_in_the_schema_but_not_suggested(tmp_path: Path) -> None:
    old = RunConfig.model_json_schema()["properties"]["decoder"]
    assert old["deprecated"]
    assert old["enum"] == ["auto", "decord", "pyav", "torchcodec"]
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, {**MINIMAL, "decodr": "pyav"})
    assert "video_backend" in str(caught.value)
    assert "decoder" not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("max_failed", "five", "from '0 %' to '100 %'"),
        ("max_failed", "101 %", "from '0 %' to '100 %'"),
        ("max_failed", 0.05, "from '0 %' to '100 %'"),
        ("max_failed", -1, "from '0 %' to '100 %'"),
        ("max_failed", True, "must be a number"),
        ("gpus_per_worker", 1.5, "a part of one GPU"),
        ("memory_per_worker_gib", 0, "must be above 0"),
    ],
)
def test_what_workers_cannot_have_is_refused(
    tmp_path: Path, key: str, value: object, told: str
) -> None:
    with pytest.raises(ConfigError, match=f"workers.{key}") as caught:
        load(tmp_path, {**MINIMAL, "workers": {key: value}})
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("value", "most"), [("5 %", 14), ("5%", 14), ("0.5 %", 1), (7, 7), (None, None)]
)
def test_the_most_that_may_fail_is_a_count_or_a_share(
    tmp_path: Path, value: object, most: int | None
) -> None:
    config = load(tmp_path, {**MINIMAL, "workers": {"max_failed": value}})
    assert config.workers.most_failed(288) == most
