"""Values in place of a run file's: where they go, and how mistakes in them are reported."""

import logging
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from encodeonce.harness.run.config import ConfigError
from encodeonce.harness.run.new_file import run_file_text
from encodeonce.harness.run.overrides import (
    Override,
    benchmarks,
    entries,
    listed,
    setting,
    with_overrides,
    with_seed,
)
from encodeonce.harness.run.read_config import load_config, load_run

RUN = """\
model: {path: demo, device: cpu}
benchmarks:
  - name: demo
  - {name: demo, label: again}
workers: {executor: local}
output: out
"""


@pytest.fixture
def run_file(tmp_path: Path) -> Path:
    path = tmp_path / "run.yaml"
    path.write_text(RUN)
    return path


def test_every_key_can_be_set_and_the_others_stay(run_file: Path) -> None:
    texts = (
        "workers.num_workers=8",
        "generation.max_new_tokens=5",
        "benchmarks.1.options.split=train",
        "kv=[full, snapkv@0.2]",
        "check_uncached=all",
        "model.revision='1'",
    )
    config = load_run(run_file, [setting(text) for text in texts])
    assert config.workers.num_workers == 8
    assert config.workers.executor == "local"
    assert config.generation.max_new_tokens == 5
    assert [spec.options for spec in config.benchmarks] == [{}, {"split": "train"}]
    assert [spec.title for spec in config.kv] == ["full", "snapkv@0.2"]
    assert config.check_uncached == "all"
    assert (config.model.device, config.model.revision) == ("cpu", "1")
    assert load_config(run_file).workers.num_workers == 2


def test_what_is_set_last_counts(run_file: Path) -> None:
    config = load_run(run_file, [setting("limit=3"), setting("limit=4")])
    assert config.limit == 4


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("workers.num_worker=8", "--set workers.num_worker=8: workers.num_worker: unknown key. A"),
        ("workers.num_workers=many", "--set workers.num_workers=many: .*must be a whole number"),
        ("wrkers.num_workers=8", "--set wrkers.num_workers=8: .*unknown key. Allowed: model, "),
        ("limit", "--set limit: must be KEY=VALUE"),
        ("=3", "--set =3: must be KEY=VALUE"),
        ("model..path=x", "must be KEY=VALUE"),
        ("benchmarks.2.label=x", "there is no 2 in benchmarks, which is a list of 2, counted from"),
        ("benchmarks.name=x", "there is no 'name' in benchmarks, which is a list of 2"),
        ("kv.0.keep=0.5", "--set kv.0.keep=0.5: there is no 0 in kv, which is not given"),
        ("model.path.to=x", "there is no 'to' in model.path, which is 'demo'"),
        ("kv=[snapkw@0.2]", "--set kv=.*no method 'snapkw'"),
        ("kv={method: snapkv", "--set kv={method: snapkv: line 1"),
        ("benchmarks.0.options.split=tran", "--set benchmarks.0.options.split=tran: .*'demo': spl"),
    ],
)
def test_a_mistake_is_reported_by_what_was_typed(run_file: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_run(run_file, [setting(text)])


def test_other_mistakes_are_still_reported_by_line(run_file: Path) -> None:
    run_file.write_text(RUN.replace("executor: local", "exekutor: local"))
    with pytest.raises(ConfigError, match=r"run.yaml, line 5: workers.exekutor: unknown key"):
        load_run(run_file, [setting("limit=3")])


def test_a_run_needs_no_file_and_has_a_folder_that_follows_from_what_is_asked() -> None:
    def output(**changes: Any) -> Path:
        content = {"model": {"path": "demo"}, "benchmarks": [{"name": "demo"}], **changes}
        return load_run(None, [Override((key,), one, key) for key, one in content.items()]).output

    first = output()
    assert first.is_absolute()
    assert re.fullmatch(r"demo-demo-[0-9a-f]{8}", first.name)
    assert first.parent.name == "encodeonce-results"
    assert output(limit=3, kv=["full", "snapkv@0.2"], workers={"executor": "local"}) == first
    assert output(frames={"policy": "uniform_inclusive", "num_frames": 3}) != first
    assert output(output="here") == Path("here").absolute()


def test_lists_are_split_at_commas_outside_brackets() -> None:
    assert listed(["a, b", "random@0.5(seed=1,shared=True)", "{a: [1, 2]},c", " "]) == [
        "a", "b", "random@0.5(seed=1,shared=True)", "{a: [1, 2]}", "c",
    ]  # fmt: skip
    assert entries(["rtn,{method: awq, path: x}"], "--weights") == [
        "rtn",
        {"method": "awq", "path": "x"},
    ]


def test_tasks_have_our_names_and_those_of_other_harnesses() -> None:
    found = benchmarks(
        ["video_mme:/data/v,Video-MME:/data/v,videomme:/data/v", "MMBench_DEV_EN:a.tsv", "demo"],
        "--tasks",
    )
    assert found == [
        *[{"name": "video_mme", "options": {"folder": "/data/v"}}] * 3,
        {"name": "mmbench", "options": {"file": "a.tsv"}},
        {"name": "demo"},
    ]
    assert benchmarks(["questions:my/q.jsonl"], "--tasks") == [
        {"name": "questions", "options": {"file": "my/q.jsonl", "media_root": "my"}}
    ]
    with pytest.raises(ConfigError, match="--tasks: no benchmark is called 'vidio_mme'.*Did you"):
        benchmarks(["vidio_mme:/data"], "--tasks")


def test_a_seed_is_given_to_what_draws_and_keeps_what_is_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    content = {
        "benchmarks": [{"name": "needle", "options": {"folder": "x"}}, {"name": "demo"}],
        "kv": ["full", "random@0.5", {"method": "random", "keep": [0.2], "options": {"seed": 1}}],
    }
    found = with_seed(content, 7)
    assert found["benchmarks"] == [
        {"name": "needle", "options": {"seed": 7, "folder": "x"}},
        {"name": "demo"},
    ]
    assert [one.get("options") for one in found["kv"]] == [None, {"seed": 7}, {"seed": 1}]
    assert not caplog.records
    with caplog.at_level(logging.WARNING):
        plain = {"benchmarks": [{"name": "demo"}]}
        assert with_seed(plain, 7) == plain
    assert "--seed 7 changes nothing: answers are greedy" in caplog.text


def test_a_new_file_says_the_same_and_lists_all_other_keys(tmp_path: Path) -> None:
    content = with_overrides(
        {"model": {"path": "demo"}, "benchmarks": [{"name": "demo"}], "output": "out"},
        [setting("kv=[full, snapkv@0.2]"), setting("workers.num_workers=3")],
    )
    path = tmp_path / "run.yaml"
    text = run_file_text(content)
    path.write_text(text)
    assert yaml.safe_load(text) == content
    before = load_config(path)
    assert [spec.title for spec in before.kv] == ["full", "snapkv@0.2"]
    # Every default that stands in a comment is the key's own.
    path.write_text(
        re.sub(r"^# (?! )", "", re.sub(r"^# ( +)", r"\1", text, flags=re.M), flags=re.M)
    )
    assert load_config(path) == before
    for key in ("generation", "vision", "cache", "adapters", "fidelity", "limit"):
        assert re.search(rf"^# {key}:", text, re.MULTILINE)
    assert "# workers:" not in text
