"""Training compressors of the demo model: what follows from the run file, and what may end it."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from encodeonce.datasets.benchmarks import demo
from encodeonce.harness.run.config import ConfigError
from encodeonce.harness.run.read_config import load_run_file
from encodeonce.harness.training.compressor.config import TrainCompressorConfig
from encodeonce.harness.training.compressor.train import Trained, train_compressor
from encodeonce.harness.training.folder import TrainingFolderError
from encodeonce.harness.training.ranks import Ranks
from tests.compressors import write_random

RUN: Mapping[str, Any] = {
    "model": {"path": "demo", "dtype": "float32"},
    "benchmarks": [{"name": "demo", "options": {"split": "train"}}],
    "generation": {"max_new_tokens": 4},
    "compressor": {"factor": 16, "dropout": 0.1},
    "data": {"recombine_units": True, "num_prefixes": 6, "questions_per_prefix": 3},
    "optim": {"max_steps": 6, "lr": 1e-3, "warmup_steps": 1, "prefixes_per_step": 2},
    "validation": {"every_steps": 2, "samples": 3},
}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def config(cache: Path, output: Path, **changes: Any) -> TrainCompressorConfig:
    content = {**RUN, "cache": {"path": str(cache)}, "output": str(output)}
    for section, fields in changes.items():
        is_section = isinstance(fields, Mapping)
        content[section] = {**content.get(section, {}), **fields} if is_section else fields
    output.parent.mkdir(parents=True, exist_ok=True)
    path = output.parent / f"{output.name}.yaml"
    path.write_text(json.dumps(content))
    return load_run_file(path, TrainCompressorConfig)


def quiet(done: int, total: int, words: str) -> None:
    pass


def train(cache: Path, output: Path, **changes: Any) -> Trained:
    return train_compressor(config(cache, output, **changes), Ranks(), quiet)


def weights(output: Path, step: int) -> dict[str, torch.Tensor]:
    folder = output / "checkpoints" / f"step-{step:07}"
    return {
        **load_file(folder / "compressor.safetensors"),
        **load_file(folder / "optimizer.safetensors"),
    }


def test_a_killed_training_goes_on_with_the_same_bits(cache: Path, tmp_path: Path) -> None:
    train(cache, tmp_path / "whole")

    def killed(done: int, total: int, words: str) -> None:
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_compressor(config(cache, tmp_path / "killed"), Ranks(), killed)
    # A kill while a checkpoint is written leaves a part of it.
    (tmp_path / "killed" / "checkpoints" / ".unfinished").mkdir()
    trained = train(cache, tmp_path / "killed")
    one, other = weights(tmp_path / "whole", 6), weights(tmp_path / "killed", 6)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert [entry["step"] for entry in trained.state.history] == [2, 4, 6]
    lines = (tmp_path / "killed" / "progress.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [2, 4, 6]
    header = json.loads((tmp_path / "killed" / "compressor.json").read_text())
    assert header["training"]["step"] == trained.state.best_step
    assert "| ccm |" in (tmp_path / "killed" / "README.md").read_text()


def test_a_finished_training_does_nothing_more(cache: Path, tmp_path: Path) -> None:
    train(cache, tmp_path / "t", optim={"max_steps": 2})
    said: list[int] = []
    train_compressor(
        config(cache, tmp_path / "t", optim={"max_steps": 2}), Ranks(), lambda n, *_: said.append(n)
    )
    assert not said


def test_the_loss_falls_by_half(cache: Path, tmp_path: Path) -> None:
    trained = train(
        cache,
        tmp_path / "t",
        compressor={"dropout": 0.0},
        loss={"name": "kl"},
        data={"num_prefixes": 1},
        optim={"max_steps": 30, "prefixes_per_step": 1, "schedule": "constant", "warmup_steps": 5},
        validation={"every_steps": 5},
    )
    first, *_, last = (entry["loss"] for entry in trained.state.history)
    assert last < first / 2


def test_another_recipe_in_the_same_folder_is_refused(cache: Path, tmp_path: Path) -> None:
    train(cache, tmp_path / "t", optim={"max_steps": 2})
    with pytest.raises(TrainingFolderError, match=r"differs in: compressor.factor, optim.lr\."):
        train(cache, tmp_path / "t", optim={"max_steps": 2, "lr": 2e-3}, compressor={"factor": 8})


def test_no_medium_is_both_learnt_from_and_judged_by(cache: Path, tmp_path: Path) -> None:
    one_clip = {"max_samples": 3}
    with pytest.raises(ValueError, match=r"media in both parts.* has 1"):
        train(cache, tmp_path / "t", data=one_clip)


def test_a_factor_that_merges_nothing_is_refused(cache: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"factor: no segment .* 2 groups of 4000 tokens"):
        train(cache, tmp_path / "t", compressor={"factor": 4000})


def test_patience_ends_it(cache: Path, tmp_path: Path) -> None:
    trained = train(
        cache,
        tmp_path / "t",
        stop={"metric": "agreement", "patience": 1},
        optim={"lr": 1e-9, "max_steps": 50},
        validation={"every_steps": 1},
    )
    assert trained.state.step == 2
    assert trained.state.best_step == 1


def test_nets_begin_where_another_training_ended(cache: Path, tmp_path: Path) -> None:
    train(cache, tmp_path / "one", optim={"max_steps": 2})
    begin = {"init_from": str(tmp_path / "one")}
    train(cache, tmp_path / "two", compressor=begin, optim={"max_steps": 1, "lr": 1e-12})
    one = load_file(tmp_path / "one" / "compressor.safetensors")
    two = load_file(tmp_path / "two" / "compressor.safetensors")
    assert all(torch.allclose(one[name], two[name], atol=1e-9) for name in one)
    with pytest.raises(ValueError, match=r"init_from: .* has another form"):
        train(cache, tmp_path / "three", compressor={**begin, "factor": 8})


def test_where_nets_begin_is_an_absolute_path_of_a_compressor(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_random(tmp_path / "mine", (0, 1), 8)
    monkeypatch.chdir(tmp_path)  # where Ray's workers are not
    found = config(cache, tmp_path / "t", compressor={"init_from": "mine"})
    assert found.compressor.init_from == str(tmp_path / "mine")
    with pytest.raises(ConfigError, match=r"line \d+: compressor.init_from: .*holds no compressor"):
        config(cache, tmp_path / "t", compressor={"init_from": "nowhere"})


def test_under_scope_question_prompts_are_compressed_whole(cache: Path, tmp_path: Path) -> None:
    trained = train(cache, tmp_path / "t", compressor={"scope": "question"}, optim={"max_steps": 2})
    assert trained.header.scope == "question"
    assert trained.state.best()["held_out"]["ccm"]["kept"] < 0.5


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"data": {"answer": "reference"}}, "no reference is about; use answer: teacher"),
        ({"compressor": {"factor": 1}}, r"compressor.factor: must be at least 2"),
        ({"optim": {"lr": 0}}, r"optim.lr: must be above 0"),
        ({"optim": {"learning_rate": 1}}, r"optim.learning_rate"),
        ({"compressor": {"segments": "whole"}}, "text: raw merges none"),
    ],
)
def test_what_cannot_be_trained_is_refused_at_once(
    cache: Path, tmp_path: Path, changes: Any, words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        config(cache, tmp_path / "t", **changes)


def test_two_processes_take_the_steps_of_one(cache: Path, tmp_path: Path) -> None:
    few = {"optim": {"max_steps": 2}, "compressor": {"dropout": 0.0}}
    train(cache, tmp_path / "one", **few)
    config(cache, tmp_path / "two", **few)
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = str(found.getsockname()[1])
    command = [sys.executable, "-m", "encodeonce.jobs.cli.main", "train", "compressor"]
    processes = [
        subprocess.Popen(
            [*command, str(tmp_path / "two.yaml")],
            env={
                **os.environ,
                **{"RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_RANK": str(rank)},
                **{"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port},
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(2)
    ]
    said = [process.communicate(timeout=200)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    assert "step 2 of 2 is kept" in said[0] and "kept" not in said[1]
    one = load_file(tmp_path / "one" / "compressor.safetensors")
    two = load_file(tmp_path / "two" / "compressor.safetensors")
    assert all(torch.allclose(one[name], two[name], atol=1e-5) for name in one)


def test_more_processes_than_lessons_are_refused(cache: Path, tmp_path: Path) -> None:
    ranks = Ranks()
    ranks.world = 3
    with pytest.raises(ValueError, match=r"prefixes_per_step: 3 processes .* got 2"):
        train_compressor(config(cache, tmp_path / "t"), ranks, quiet)


def test_time_that_is_up_loses_no_step(cache: Path, tmp_path: Path) -> None:
    """Or jobs shorter than a validation's distance would repeat the same steps for ever."""
    brief = {"max_minutes": 1e-9}
    validation = {"every_steps": 100, "samples": 1}
    steps = [
        train(cache, tmp_path / "t", stop=brief, validation=validation).state.step for _ in range(2)
    ]
    assert steps == [1, 2]


def test_a_training_that_diverges_says_so(cache: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"diverged: the gradient of step \d .*optim.lr \(1e\+30"):
        train(cache, tmp_path / "t", optim={"lr": 1e30, "warmup_steps": 0})


def test_media_that_cannot_be_decoded_are_left_out(cache: Path, tmp_path: Path) -> None:
    """In either part: nothing would be learnt if one bad file ended a training of days."""
    rows = [
        {"id": str(n), "video": f"{n % 6}.mp4", "question": "Which digit?", "answer": "3"}
        for n in range(12)
    ]
    (tmp_path / "rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    clips = sorted((Path(demo.__file__).parents[1] / "demo" / "clips").glob("train-*"))
    for number, clip in enumerate(clips[:6]):
        content = clip.read_bytes() if number % 2 else f"no video {number}".encode()
        (tmp_path / f"{number}.mp4").write_bytes(content)
    options = {"file": str(tmp_path / "rows.jsonl"), "media_root": str(tmp_path)}
    trained = train(
        cache,
        tmp_path / "t",
        benchmarks=[{"name": "questions", "options": options}],
        data={"recombine_units": False, "held_out": 0.5},
        optim={"max_steps": 2},
    )
    assert trained.state.step == 2


def test_features_that_are_missing_are_said_with_what_to_do(tmp_path: Path) -> None:
    asked = config(tmp_path / "none", tmp_path / "t")
    store = asked.cache.model_copy(update={"on_miss": "error"})
    with pytest.raises(ValueError, match=r"not in the store, .*Leave cache.on_miss out"):
        train_compressor(asked.model_copy(update={"cache": store}), Ranks(), quiet)
