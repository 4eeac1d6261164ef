"""Training by Ray Train: the steps of one process, on two."""

import json
from pathlib import Path
from typing import Any

import pytest
import ray
import torch
from safetensors.torch import load_file

from encodeonce.harness.run.read_config import load_run_file
from encodeonce.harness.training.compressor.config import TrainCompressorConfig
from encodeonce.harness.training.compressor.train import train_compressor
from encodeonce.harness.training.ranks import Ranks
from encodeonce.jobs.execution import ray_train
from encodeonce.jobs.execution.ray_train import train_on_ray


def config(folder: Path, name: str, **more: Any) -> TrainCompressorConfig:
    content = {
        "model": {"path": "demo", "dtype": "float32"},
        "benchmarks": [{"name": "demo", "options": {"split": "train"}}],
        "generation": {"max_new_tokens": 4},
        "compressor": {"factor": 16},
        "data": {"recombine_units": True, "num_prefixes": 2, "questions_per_prefix": 3},
        "optim": {"max_steps": 2, "prefixes_per_step": 2},
        "validation": {"every_steps": 2, "samples": 3},
        "cache": {"path": str(folder / "cache")},
        "workers": {"executor": "ray", "num_workers": 2, "max_attempts": 1},
        "output": str(folder / name),
        **more,
    }
    path = folder / f"{name}.yaml"
    path.write_text(json.dumps(content))
    return load_run_file(path, TrainCompressorConfig)


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:.*deprecated")  # by Ray Data about itself, when imported
def test_two_workers_take_the_steps_of_one(ray_cluster: None, tmp_path: Path) -> None:
    train_compressor(config(tmp_path, "one"), Ranks(), lambda *_: None)
    steps: list[int] = []
    train_on_ray(
        train_compressor, config(tmp_path, "two"), None, lambda done, *_: steps.append(done)
    )
    assert steps and steps == sorted(steps)
    one = load_file(tmp_path / "one" / "compressor.safetensors")
    other = load_file(tmp_path / "two" / "compressor.safetensors")
    assert all(torch.allclose(one[name], other[name], atol=1e-5) for name in one)
    assert not (tmp_path / "two" / ".ray-train").exists()


class Board:
    """Stands for the actor."""

    def __init__(self) -> None:
        self.refusals: list[str] = []
        self.say = self.give_up = self.read = self

    def remote(self, *said: Any) -> Any:
        if len(said) == 1:
            self.refusals += said
        return None, next(iter(self.refusals), None)


def test_what_a_process_refuses_is_said_and_not_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_train, "get_context", lambda: Rank())
    monkeypatch.setattr(ray, "get", lambda said: said)  # no cluster is needed
    board = Board()
    one_clip = config(tmp_path, "three", data={"max_samples": 3}).model_dump(mode="json")
    what = {"train": train_compressor, "kind": TrainCompressorConfig, "config": one_clip}
    with pytest.raises(ValueError, match="media in both parts"):  # or the others would wait for it
        ray_train._train_as_one({**what, "board": board})
    (refusal,) = board.refusals
    assert refusal.startswith("training needs media in both parts")
    ray_train._train_as_one({**what, "board": board})  # started again by Ray Train
    assert board.refusals == [refusal]


class Rank:
    def get_world_rank(self) -> int:
        return 0
