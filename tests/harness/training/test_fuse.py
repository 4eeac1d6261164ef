"""Fusing adapters of the demo's model: what is written, what goes on, what is refused."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from encodeonce.harness.run.config import ConfigError, RunConfig
from encodeonce.harness.run.read_config import load_run_file
from encodeonce.harness.training.adapter.judge import Marks
from encodeonce.harness.training.folder import TrainingFolderError
from encodeonce.harness.training.fusion import work
from encodeonce.harness.training.fusion.config import Floor, FuseConfig, as_floor
from encodeonce.harness.training.fusion.fuse import ALONE, FUSED, Fused, fuse_adapters
from encodeonce.harness.training.fusion.work import BASE_NAME
from encodeonce.jobs.cli.app import app
from encodeonce.models.adapters.checkpoint import read_adapter
from encodeonce.models.family_bases.transformers import TransformersVision
from tests.harness.training.test_adapter import CLIPS, asked


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def written(cache: Path, folder: Path, floors: Mapping[str, Any], **changes: Any) -> Path:
    """Write a run file of units that learn from clips 0 and 1 and are judged by clips 2 and 3."""
    units = []
    for name, floor in floors.items():
        learnt = asked(folder, f"{name}-train", [(0, "1"), (1, "2")])
        judged = asked(folder, f"{name}-check", [(2, "1"), (3, "2")])
        units.append({"name": name, "train": learnt, "check": judged, "floor": floor})
    content = {
        "model": {"path": "demo", "dtype": "float32"},
        "generation": {"max_new_tokens": 2},
        "units": units,
        "steps_per_unit": 1,
        "lora": {"r": 2},
        "max_rank": 3,
        "data": {"held_out": 0.5},
        "cache": {"path": str(cache)},
        "output": str(folder / "fused"),
        **changes,
    }
    path = folder / "fuse.yaml"
    path.write_text(json.dumps(content))
    return path


def fuse(path: Path) -> tuple[Fused, list[str]]:
    said: list[str] = []
    return fuse_adapters(load_run_file(path, FuseConfig), said.append), said


def test_units_that_keep_their_floors_share_an_adapter_and_nothing_is_done_twice(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(cache, tmp_path, {"a": "base-0.9", "b": "alone"}, compare=True)
    with pytest.raises(ValueError, match=r"floor of 'a' comes to -\d"):  # the base gets none right
        fuse(path)
    written(cache, tmp_path, {"a": 0.001, "b": 0.001}, compare=True)
    fused, said = fuse(path)
    assert [one.outcome for one in fused.decisions] == ["missed", "missed"]
    assert fused.missed == ["a", "b"] and list(fused.adapters) == ["fused-1", "fused-2"]
    columns = [BASE_NAME, ALONE, FUSED, "one for all"]
    ways = [f"{how}@{weight}" for how in ("cat", "svd", "ties") for weight in ("sum", "mean")]
    assert list(fused.table) == [*columns, *ways]
    log = (tmp_path / "fused" / "fusion.jsonl").read_text()
    assert [json.loads(line)["unit"] for line in log.splitlines()] == ["a", "b"]
    assert any(words.startswith("training all: step 1 of 2 · loss") for words in said)

    listed = {"from": str(tmp_path / "fused" / "adapters.json")}
    run = {"model": {"path": "demo"}, "benchmarks": [{"name": "demo"}], "output": "out"}
    config = RunConfig.model_validate({**run, "adapters": ["none", listed]})
    titles = [one and one.title for one in config.adapters]
    assert titles == [None, "fused-1", "fused-2"]
    assert all(read_adapter(one).products for one in config.adapters if one is not None)

    def fail(*_: Any) -> None:
        raise AssertionError("trained, asked or encoded again")

    monkeypatch.setattr(work, "train_beside", fail)
    monkeypatch.setattr(work.Judge, "marks", fail)
    monkeypatch.setattr(TransformersVision, "load", fail)
    again, _ = fuse(path)
    assert (again.decisions, again.table) == (fused.decisions, fused.table)
    assert (tmp_path / "fused" / "fusion.jsonl").read_text() == log


def test_it_goes_on_where_it_was_killed_and_decides_the_same(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = [tmp_path / name for name in ("whole", "killed")]
    for folder in folders:
        folder.mkdir()
        written(cache, folder, {"a": 0.001, "b": 0.001}, compare=False)
    whole, _ = fuse(folders[0] / "fuse.yaml")
    trained: list[Any] = []
    train_beside = work.train_beside

    def killed(*args: Any) -> Any:
        trained.append(args[1])
        if len(trained) == 2:
            raise KeyboardInterrupt
        return train_beside(*args)

    monkeypatch.setattr(work, "train_beside", killed)
    with pytest.raises(KeyboardInterrupt):
        fuse(folders[1] / "fuse.yaml")
    found, _ = fuse(folders[1] / "fuse.yaml")
    assert len(trained) == 3 and found.decisions == whole.decisions
    tensors = [folder / "fused" / "fused-2" / "adapter_model.safetensors" for folder in folders]
    assert tensors[0].read_bytes() == tensors[1].read_bytes()
    with pytest.raises(TrainingFolderError, match=r"differs in: lora.r"):
        fuse(written(cache, folders[1], {"a": 0.1, "b": 0.1}, compare=False, lora={"r": 3}))


def test_the_command_ends_with_1_where_a_floor_is_missed(cache: Path, tmp_path: Path) -> None:
    path = written(cache, tmp_path, {"a": 0.5}, compare=False)
    done = CliRunner().invoke(app, ["fuse", "adapters", str(path)])
    assert done.exit_code == 1 and "floors are missed: a" in done.stderr
    assert "a: missed in a: below the floor of a" in done.stdout


def test_media_that_are_learnt_from_do_not_judge(cache: Path, tmp_path: Path) -> None:
    """Nor those that another unit learns from, under another name."""
    (tmp_path / "train-09.mp4").write_bytes((CLIPS / "train-00.mp4").read_bytes())
    path = written(cache, tmp_path, {"a": 0.5, "b": 0.5})
    content = json.loads(path.read_text())
    copy = asked(tmp_path, "copy", [(9, "1")], media_root=tmp_path)
    content["units"][1]["check"] = copy
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"'b': train-09.mp4 .* of '.': train-00.mp4"):
        fuse(path)


@pytest.mark.parametrize(
    ("text", "floor"),
    [
        (0.9, Floor(by=0.9)),
        (1, Floor(by=1.0)),
        ("alone-0.02", Floor(of="alone", by=-0.02)),
        ("alone", Floor(of="alone", by=0.0)),
        ("base + 0.10", Floor(of="base", by=0.1)),
    ],
)
def test_floors_are_numbers_or_relative(text: Any, floor: Floor) -> None:
    assert Floor.model_validate(as_floor(text)) == floor
    start = {None: 0.0, "alone": 0.7, "base": 0.5}[floor.of]
    assert floor.value(base=0.5, alone=0.7) == pytest.approx(start + floor.by)


@pytest.mark.parametrize(
    ("floors", "changes", "words"),
    [
        ({"a": 1.5}, {}, r"units.0.floor: .*above 0 and at most 1; got 1.5"),
        ({"a": 0}, {}, r"above 0 and at most 1; got 0"),
        ({"a": "lone-1"}, {}, r"alone-0.02, base\+0.10\); got 'lone-1'"),
        ({"a b": 0.5}, {}, "name consists of letters"),
        ({"all": 0.5}, {}, "neither none nor all"),
        ({"a": 0.5}, {"optim": {"max_steps": 3}}, "write steps_per_unit"),
        ({"a": 0.5}, {"units": []}, "units"),
        ({"a": 0.5}, {"lora": {"r": 2, "init_from": "x"}}, "fusion begins with nothing"),
    ],
)
def test_what_cannot_be_fused_is_refused_at_once(
    cache: Path, tmp_path: Path, floors: Any, changes: Any, words: str
) -> None:
    path = written(cache, tmp_path, {})
    content = json.loads(written(cache, tmp_path, floors).read_text())
    path.write_text(json.dumps({**content, **changes}))
    with pytest.raises(ConfigError, match=words):
        load_run_file(path, FuseConfig)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read"),
        ("{", "damaged"),
        ("{}", "names no adapters"),
        ('{"adapters": {"x": {}}}', "'x' has no 'path'"),
    ],
)
def test_files_that_name_no_adapters_are_refused(
    tmp_path: Path, content: str | None, words: str
) -> None:
    path = tmp_path / "adapters.json"
    if content is not None:
        path.write_text(content)
    run = {"model": {"path": "demo"}, "benchmarks": [{"name": "demo"}], "output": "out"}
    with pytest.raises(ValueError, match=words):
        RunConfig.model_validate({**run, "adapters": {"from": str(path)}})


def test_a_third_unit_is_added_to_an_adapter_of_two(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each begins with the adapter that was kept; all are asked for what it is to answer."""

    def marks(self: Any, adapter: int = -1, titles: Any = None) -> dict[str, Marks]:
        return {name: Marks(scores=[1.0], clusters=["c"]) for name in titles or "abc"}

    monkeypatch.setattr(work.Judge, "marks", marks)
    path = written(cache, tmp_path, dict.fromkeys("abc", 0.9), compare=False)
    fused, _ = fuse(path)
    assert [one.adapter for one in fused.decisions] == ["a", "a+b", "a+b+c"]
    assert list(fused.adapters) == ["fused-1"] and not fused.missed
    started = json.loads((tmp_path / "fused/trainings/a+b+c/train.json").read_text())["lora"]
    before = (tmp_path / "fused/trainings/a+b/adapter_model.safetensors").read_bytes()
    digest = hashlib.sha256(before).hexdigest()
    assert started["init_from"]["adapter_model.safetensors"] == digest
    result = json.loads((tmp_path / "fused/adapters.json").read_text())
    assert result["units"] == dict.fromkeys("abc", "fused-1")
