"""``encodeonce bench prefix``: what it prints, what it stores, and what it refuses."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from encodeonce.jobs.cli.app import app
from tests.contracts.logits import NotedLogits
from tests.fixtures.tiny_models import write_tiny_llava

CLIP = Path(__file__).parents[4] / "datasets" / "demo" / "clips" / "heldout-00.mp4"
WAYS = ["no cache", "features", "features, shared prefix", "resident prefix"]
FAST = ("--dtype", "float32", "--device", "cpu", "--runs", "2", "--new-tokens", "3")


def call(*words: object) -> Result:
    runner = CliRunner(env={"COLUMNS": "200"})
    return runner.invoke(app, ["bench", "prefix", *(str(word) for word in words)])


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_llava(tmp_path_factory.mktemp("model") / "tiny-llava")


def stored(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def test_a_table_is_printed_and_everything_is_stored(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logits = NotedLogits(monkeypatch)
    words = ("--model", model, "--media", CLIP, "--frames", "4", "--output", tmp_path / "all.json")
    done = call(*FAST, *words, "--prompt", "Where?", "--prompt", "What is the first digit?")
    assert done.exit_code == 0, done.output
    for text in (*WAYS, "2 of 2", "shared KV", "4 units", "encode", str(tmp_path / "all.json")):
        assert text in done.stdout
    found = stored(tmp_path / "all.json")
    assert [way["name"] for way in found["ways"]] == WAYS
    logits.assert_no_close_calls()
    for way in found["ways"]:
        assert way["num_same_as_no_cache"] == way["num_answers"] == 2
        assert way["num_generated_tokens"] == 6
        assert len(way["total_s"]) == len(way["first_token_s"]) == 2
        assert 0 < min(way["first_token_s"]) < max(way["total_s"])
        assert way["tokens_per_s"] == pytest.approx(6 / way["median_s"])
        assert {"prefill", "generate"} <= way["stages_s"].keys()
    assert found["questions"] == ["Where?", "What is the first digit?"]
    assert found["model"]["path"] == model.name
    assert found["media"] == {"kind": "video", "name": CLIP.name}
    assert found["encoding"]["num_units"] == 4
    assert found["encoding"]["stages_s"].keys() == {"decode", "preprocess", "encode"}
    assert found["hardware"]["num_threads"] >= 1
    assert found["date"].endswith("+00:00")


def test_what_is_shared_is_counted(model: Path, tmp_path: Path) -> None:
    done = call(
        *FAST, "--model", model, "--media", CLIP, "--frames", "2", "--output", tmp_path / "a.json"
    )
    assert done.exit_code == 0, done.output
    no_cache, features, shared, resident = stored(tmp_path / "a.json")["ways"]
    assert no_cache["kv_bytes"] == features["kv_bytes"] == 0
    # "<s>user: " is 7 tokens, two frames are 16 each; 2 layers x 2 heads x 16 wide, keys and values
    assert shared["kv_bytes"] == resident["kv_bytes"] == (7 + 2 * 16) * 2 * 2 * 16 * 2 * 4
    assert "read" not in resident["stages_s"]
    assert "decode" not in shared["stages_s"]
    assert "decode" in no_cache["stages_s"]


@pytest.mark.parametrize("shape", ["llava-tiny", "longva-tiny"])
def test_a_random_shape_and_a_made_up_video_are_stored_under_date_model_and_hardware(
    tmp_path: Path, shape: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    logits = NotedLogits(monkeypatch)
    done = call(*FAST, "--random", shape, "--frames", "3", "--max-batch", "1", "--output", tmp_path)
    assert done.exit_code == 0, done.output
    (path,) = tmp_path.iterdir()
    found = stored(path)
    assert path.name.startswith(f"{found['date'][:10]}-{shape}-")
    assert path.name.islower()
    assert found["model"]["path"] == shape
    assert found["media"]["kind"] == "video"
    assert found["encoding"]["num_units"] == 3
    logits.assert_no_close_calls()
    assert [way["num_same_as_no_cache"] for way in found["ways"]] == [3] * 4
    assert [way["num_generated_tokens"] for way in found["ways"]] == [9] * 4


def test_without_frames_a_picture_is_made_up(tmp_path: Path) -> None:
    done = call(*FAST, "--random", "llava-tiny", "--output", tmp_path / "a.json")
    assert done.exit_code == 0, done.output
    assert stored(tmp_path / "a.json")["media"]["kind"] == "image"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--random", "llava-8b"), "--random 'llava-8b': no such shape; allowed: llava-tiny"),
        (("--random", "llava-tiny", "--model", "a/b"), "leave out --model"),
        (("--model", "no/such/model"), "model.path 'no/such/model' is neither a folder"),
        (("--random", "llava-tiny", "--media", "no.mp4"), "--media no.mp4: there is no such file"),
        (("--random", "llava-tiny", "--device", "cuda:7"), "--device: cuda:7 asks for a GPU"),
        (
            ("--random", "llava-tiny", "--device", "gpu"),
            "--device: must be auto, cpu, cuda or the like of cuda:1; got 'gpu'",
        ),
        (("--random", "llava-tiny", "--output", "no/folder/a.json"), "there is no folder"),
    ],
)
def test_what_cannot_be_measured_is_one_clear_message(
    words: tuple[str, ...], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    done = call(*words)
    assert done.exit_code == 1
    assert isinstance(done.exception, SystemExit)
    assert done.stderr.count("encodeonce: ") == 1
    assert message in " ".join(done.stderr.split())
    assert "Traceback" not in done.output


@pytest.mark.parametrize(
    ("option", "value", "allowed"),
    [
        ("--dtype", "int3", "bfloat16"),
        ("--tap", "middle", "projected"),
        ("--runs", "0", "1"),
        ("--micro-batch", "0", "1"),
    ],
)
def test_a_wrong_option_is_named_with_what_is_allowed(
    option: str, value: str, allowed: str
) -> None:
    done = call(option, value)
    assert done.exit_code == 2
    assert option in done.stderr
    assert allowed in done.stderr


def test_a_broken_picture_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no picture")
    done = call("--random", "llava-tiny", "--media", tmp_path / "broken.png")
    assert done.exit_code == 1
    assert "broken.png" in done.stderr
