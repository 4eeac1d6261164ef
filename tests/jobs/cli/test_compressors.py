"""``encodeonce train compressor``, ``encodeonce convert compressor``, and runs with the results."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from typer.testing import CliRunner

from encodeonce.jobs.cli.app import app
from tests.compressors import DEMO_LAYERS, DEMO_WIDTH, write_random

MODEL = {"path": "demo", "dtype": "float32"}


def invoke(*arguments: str) -> Any:
    return CliRunner().invoke(app, list(arguments), env={"COLUMNS": "300"})


def write(path: Path, **content: Any) -> str:
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return str(path)


def train_file(folder: Path, **more: Any) -> str:
    return write(
        folder / "train.yaml",
        **{
            "model": MODEL,
            "benchmarks": [{"name": "demo", "options": {"split": "train"}}],
            "generation": {"max_new_tokens": 4},
            "compressor": {"factor": 16},
            "data": {"recombine_units": True, "num_prefixes": 2, "questions_per_prefix": 3},
            "optim": {"max_steps": 4},
            "validation": {"every_steps": 2, "samples": 3},
            "cache": {"path": str(folder / "cache")},
            "output": str(folder / "demo-16"),
            **more,
        },
    )


def run_file(folder: Path, path: Path) -> str:
    setting = {
        "method": "ccm",
        "compression_factor": 16,
        "scope": "media",
        "options": {"path": str(path)},
    }
    return write(
        folder / "run.yaml",
        model=MODEL,
        benchmarks=[{"name": "demo"}],
        kv=["full", setting],
        fidelity=True,
        limit=2,
        cache={"path": str(folder / "cache"), "on_miss": "encode"},
        workers={"executor": "local"},
        output=str(folder / "out"),
    )


def test_a_trained_compressor_answers_also_after_its_folder_has_moved(tmp_path: Path) -> None:
    result = invoke("train", "compressor", train_file(tmp_path))
    assert result.exit_code == 0, result.output
    assert "step 4 of 4" in result.output or "step 2 of 4" in result.output
    page = (tmp_path / "demo-16" / "report.html").read_text("utf-8")
    assert "this compressor" in page and "<svg" in page

    result = invoke("run", run_file(tmp_path, tmp_path / "demo-16"))
    assert result.exit_code == 0, result.output
    run = json.loads((tmp_path / "out" / "run.json").read_text())
    title = "ccm@0.0625(path=demo-16):media"
    assert title in run["variants"]["kv"]
    assert str(tmp_path) not in json.dumps(run["variants"])
    lines = (tmp_path / "out" / "records.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    compressed = [one for one in records if one["variant"].endswith(title)]
    assert len(compressed) == 2
    assert all(
        one["fidelity"]["num_tokens"] == len(one["token_ids"]) or one["fidelity"]
        for one in compressed
    )

    (tmp_path / "elsewhere").mkdir()
    shutil.move(tmp_path / "demo-16", tmp_path / "elsewhere" / "demo-16")
    result = invoke("run", run_file(tmp_path, tmp_path / "elsewhere" / "demo-16"))
    assert result.exit_code == 0, result.output
    assert "nothing was left to do" in result.output

    weights = tmp_path / "elsewhere" / "demo-16" / "compressor.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\0\0")
    result = invoke("run", run_file(tmp_path, tmp_path / "elsewhere" / "demo-16"))
    assert result.exit_code == 1
    assert "another variant named" in result.output


def test_a_compressor_of_another_model_is_refused_before_anything_is_loaded(tmp_path: Path) -> None:
    folder = tmp_path / "c"
    write_random(folder, tuple(range(DEMO_LAYERS)), DEMO_WIDTH, factor=16)
    header = json.loads((folder / "compressor.json").read_text())
    (folder / "compressor.json").write_text(json.dumps({**header, "checkpoint_sha256": "0" * 64}))
    result = invoke("run", run_file(tmp_path, folder))
    assert result.exit_code == 1
    assert "was trained for tiny" in result.output and "not for this model" in result.output
    other = {**header, "head_width": DEMO_WIDTH + 1}
    (folder / "compressor.json").write_text(json.dumps(other))
    result = invoke("run", run_file(tmp_path, folder))
    assert result.exit_code == 1
    assert f"this model has {DEMO_LAYERS} of width {DEMO_WIDTH}" in result.output


def fastcache_file(path: Path, num_layers: int = DEMO_LAYERS, width: int = DEMO_WIDTH) -> str:
    state = {}
    for net in ("tk", "tv", "ik", "iv"):
        for layer in range(num_layers):
            for place, inputs in (("0", 5 * width), ("3", width), ("6", width)):
                state[f"compress_{net}.{layer}.{place}.weight"] = torch.randn(width, inputs)
                state[f"compress_{net}.{layer}.{place}.bias"] = torch.randn(width)
    torch.save({"model_state_dict": {"compressor": state}}, path)
    return str(path)


def test_fastcaches_file_becomes_a_folder_of_one_model(tmp_path: Path) -> None:
    file, folder = fastcache_file(tmp_path / "c.pth"), str(tmp_path / "ours")
    options = ["--model", "demo", "--layout", "fastcache-linear-decouple"]
    result = invoke("convert", "compressor", file, folder, *options)
    assert result.exit_code == 0, result.output
    header = json.loads((tmp_path / "ours" / "compressor.json").read_text())
    assert (header["factor"], header["positions"], header["model"]) == (5, "compressed", "demo")
    result = invoke("convert", "compressor", file, folder, *options)
    assert result.exit_code == 1 and "exists" in result.output
    (tmp_path / "file").touch()
    result = invoke("convert", "compressor", file, str(tmp_path / "file" / "ours"), *options)
    assert result.exit_code == 1 and "cannot be written: File exists. Name another" in result.output


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--layout", "linear"], "--layout is 'linear'; allowed: fastcache-linear-decouple"),
        (["--layout", "fastcache-hybrid"], f"this model has {DEMO_LAYERS} of width"),
    ],
)
def test_what_cannot_be_converted_is_one_error(
    tmp_path: Path, options: list[str], words: str
) -> None:
    for num_layers in (DEMO_LAYERS + 2, DEMO_LAYERS - 1):
        file = fastcache_file(tmp_path / "c.pth", num_layers)
        result = invoke(
            "convert", "compressor", file, str(tmp_path / "ours"), "--model", "demo", *options
        )
        assert result.exit_code == 1
        assert words in result.output
        assert not (tmp_path / "ours").exists()
