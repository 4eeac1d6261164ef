"""The demo through ``engine: vllm``; `make test-vllm` runs this."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from tests.plugins.vllm.vllm_here import TIMEOUT_S, encodeonce, environment, needs_vllm

pytestmark = [pytest.mark.slow, needs_vllm, pytest.mark.timeout(2 * TIMEOUT_S)]
MOST_DIFFERENT = 2
NF4 = {"method": "bnb-nf4", "options": {"double_quant": True}}


def write_run(folder: Path, **more: Any) -> Path:
    content = {
        "model": {"path": "demo", "dtype": "float32", "device": "cpu"},
        "benchmarks": [{"name": "demo"}],
        "engine": {"name": "vllm", "kv_cache_gib": 0.5},
        "cache": {"path": "cache"},
        "workers": {"executor": "local"},
        "output": "out",
        **more,
    }
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def records(folder: Path, name: str = "records") -> list[dict[str, Any]]:
    path = folder / "out" / f"{name}.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was killed with some answers given, and then finished."""
    folder = tmp_path_factory.mktemp("run")
    write_run(folder, check_uncached="all")
    assert encodeonce(folder, "precompute", "run.yaml").returncode == 0
    command = [sys.executable, "-m", "encodeonce.jobs.cli.main", "eval", "run.yaml"]
    with subprocess.Popen(
        command, cwd=folder, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        until = time.monotonic() + TIMEOUT_S
        while not records(folder) and time.monotonic() < until and process.poll() is None:
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    killed = records(folder)
    (folder / "killed.json").write_text(json.dumps(killed))
    done = encodeonce(folder, "run", "run.yaml")
    assert done.returncode == 0, done.stdout[-4000:]
    (folder / "log").write_text(done.stdout)
    return folder


def test_a_killed_run_goes_on_without_asking_anything_again(folder: Path) -> None:
    killed = json.loads((folder / "killed.json").read_text())
    found = records(folder)
    assert 0 < len(killed) < len(found)
    assert found[: len(killed)] == killed
    keys = [(one["benchmark"], one["sample"]) for one in found]
    assert len(keys) == len(set(keys))
    assert not [one for one in found if one["error"]]


def test_answers_are_plain_transformers_but_for_rounding(folder: Path) -> None:
    plain = {one["sample"]: one["text"] for one in records(folder, "uncached")}
    ours = {one["sample"]: one["text"] for one in records(folder)}
    assert plain.keys() == ours.keys()
    different = [name for name in plain if plain[name] != ours[name]]
    assert len(different) <= MOST_DIFFERENT
    assert (
        f"answers identical: {len(plain) - len(different)} of {len(plain)}"
        in (folder / "log").read_text()
    )


def test_logits_are_close_to_plain_transformers(folder: Path) -> None:
    plain = {one["sample"]: one["first_logits"] for one in records(folder, "uncached")}
    for one in records(folder):
        shared = one["first_logits"].keys() & plain[one["sample"]].keys()
        assert len(shared) >= 6
        for token in shared:
            assert abs(one["first_logits"][token] - plain[one["sample"]][token]) < 1e-2


def test_the_tower_is_never_run_nor_loaded(folder: Path) -> None:
    found = records(folder)
    assert sum(one["cache"]["num_encoded"] for one in found) == 0
    units = sum(one["cache"]["num_units"] for one in found)
    assert units == sum(one["cache"]["num_hits"] for one in found) > 0
    assert not [one for one in found if {"encode", "decode"} & one["seconds"].keys()]


def test_questions_on_one_clip_share_its_prefix(folder: Path) -> None:
    found = records(folder)
    shared = sum(one["num_cached_tokens"] for one in found)
    clips = len({tuple(one["media_sha256"]) for one in found})
    prefix = max(one["num_prefix_tokens"] for one in found)
    # All but the first question on a clip, and one more after the kill; by whole blocks.
    assert shared >= 0.6 * (len(found) - 2 * clips) * prefix
    assert "found in vLLM's prefix cache" in (folder / "out" / "report.md").read_text()


def test_what_vllm_lacks_is_refused_before_anything_is_loaded(folder: Path) -> None:
    write_run(folder, weights=["bnb-fp4"], output="refused")
    done = encodeonce(folder, "eval", "run.yaml")
    assert done.returncode != 0
    assert "engine: vllm has no weights 'bnb-fp4'" in one_line(done.stdout)


def test_engines_of_two_ray_workers_answer_as_one(folder: Path) -> None:
    texts = {one["sample"]: one["text"] for one in records(folder)}
    workers = {"executor": "ray", "num_workers": 2}
    write_run(folder, workers=workers, limit=24, output="of-two")
    done = encodeonce(folder, "eval", "run.yaml")
    assert done.returncode == 0, done.stdout[-4000:]
    lines = (folder / "of-two" / "records.jsonl").read_text(encoding="utf-8").splitlines()
    found = {one["sample"]: one["text"] for one in map(json.loads, lines)}
    assert len(found) == 24
    different = [name for name, text in found.items() if text != texts[name]]
    assert len(different) <= MOST_DIFFERENT


@pytest.mark.skipif(
    not torch.cpu._is_avx512_supported(),
    reason="vLLM's build for processors without AVX-512 has no kernel for 4-bit weights",
)
def test_quantised_checkpoints_answer_as_in_transformers(tmp_path: Path) -> None:
    """In bfloat16, as vLLM's kernel for CPUs asks for."""
    more: list[Any] = ["none"]
    for name, options in (("symmetric", ["--symmetric"]), ("asymmetric", [])):
        words = ["--method", "rtn", "--group-size", "64", *options]
        assert encodeonce(tmp_path, "quantize", "demo", name, *words).returncode == 0
        more.append({"method": "rtn", "path": str(tmp_path / name)})
    assert_answers_agree(tmp_path, "bfloat16", more)


@pytest.mark.parametrize(
    ("dtype", "weights"), [("float32", ["torchao-int8", "torchao-fp8"]), ("bfloat16", [NF4])]
)
def test_weights_quantised_while_loading_answer_as_in_transformers(
    dtype: str, weights: list[Any], tmp_path: Path
) -> None:
    assert_answers_agree(tmp_path, dtype, weights)


def assert_answers_agree(folder: Path, dtype: str, weights: list[Any]) -> None:
    """Answer under some weight variants in vLLM and in transformers."""
    model = {"path": "demo", "dtype": dtype, "device": "cpu"}
    texts = []
    for engine in ({"name": "vllm", "kv_cache_gib": 0.5}, "transformers"):
        shutil.rmtree(folder / "out", ignore_errors=True)
        write_run(folder, model=model, weights=weights, engine=engine, limit=16)
        done = encodeonce(folder, "run", "run.yaml")
        assert done.returncode == 0, done.stdout[-4000:]
        texts.append({(one["variant"], one["sample"]): one["text"] for one in records(folder)})
    ours, theirs = texts
    assert len(ours) == len(weights) * 16
    assert sum(ours[key] == text for key, text in theirs.items()) >= len(ours) - MOST_DIFFERENT


def one_line(text: str) -> str:
    return " ".join(text.split())
