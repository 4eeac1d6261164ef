"""VLMEvalKit's real run.py, with our model and benchmarks. Needs a checkout of the kit."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from encodeonce.datasets.benchmarks.demo import BENCHMARK as DEMO
from encodeonce.harness.bridges.vlmevalkit.table import FAILED
from tests.plugins.vlmevalkit.kit import KIT, Bench, needs_kit, write_picture_task

pytestmark = [needs_kit, pytest.mark.slow, pytest.mark.timeout(1200)]

EXACT = ("--judge", "exact_matching")
DEMO_BENCHMARK = [{"name": "demo"}]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(folder=tmp_path)


def test_a_task_of_the_kits_own_is_answered_the_second_time_from_the_store(bench: Bench) -> None:
    write_picture_task(bench, "pictures", num_questions=12)
    arguments = ("--data", "pictures", "--model", "encodeonce", *EXACT)
    first = bench.ask(*arguments)
    assert first.returncode == 0, first.text
    predictions, status = bench.predictions("pictures"), bench.status("pictures")
    assert first.hits[0] < first.hits[1]
    second = bench.ask(*arguments)
    assert second.num_questions == 12
    assert second.hits == (first.hits[1], first.hits[1])
    assert bench.predictions("pictures") == predictions
    assert bench.status("pictures")["metrics"] == status["metrics"]
    assert sum(predictions[index] in "ABCD" for index in range(12)) > 6
    assert status["metrics"]["split=none|Overall"] > 0.25


def test_a_killed_run_is_resumed_with_the_questions_that_are_missing(bench: Bench) -> None:
    write_picture_task(bench, "pictures", num_questions=24)
    arguments = ("--data", "pictures", "--model", "encodeonce", *EXACT)
    process = subprocess.Popen(
        bench.command(*arguments),
        env=bench.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    saved = "outputs/encodeonce/T*/01_pictures.pkl"  # every ten answers
    deadline = time.monotonic() + 400
    while not any(path.stat().st_size for path in bench.folder.glob(saved)):
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not list(bench.folder.glob("outputs/encodeonce/T*/*.xlsx"))

    resumed = bench.ask(*arguments, "--reuse")
    assert resumed.returncode == 0, resumed.text
    assert resumed.num_questions in (14, 4)
    predictions, metrics = bench.predictions("pictures"), bench.status("pictures")["metrics"]
    assert len(predictions) == 24
    shutil.rmtree(bench.folder / "outputs")
    bench.ask(*arguments)
    assert bench.predictions("pictures") == predictions
    assert bench.status("pictures")["metrics"] == metrics


def test_our_own_run_fills_the_store_for_the_kit_and_the_scores_agree(bench: Bench) -> None:
    ours = bench.folder / "ours"
    run_file = bench.run_file(
        benchmarks=DEMO_BENCHMARK, output=str(ours), workers={"executor": "local"}
    )
    encodeonce = [sys.executable, "-m", "encodeonce.jobs.cli.app"]
    subprocess.run([*encodeonce, "run", str(run_file)], env=bench.environment(), check=True)
    report = json.loads((ours / "report.json").read_text("utf-8"))
    accuracy = report["evaluation"]["benchmarks"]["demo"]["accuracy"]

    said = bench.ask("--data", "demo", "--model", "encodeonce", benchmarks=DEMO_BENCHMARK)
    assert said.returncode == 0, said.text
    assert said.num_questions == 144
    assert said.hits == (192, 192)
    metrics = bench.status("demo")["metrics"]
    assert metrics["Overall"] == pytest.approx(accuracy["mean"])
    assert metrics["low"] == pytest.approx(accuracy["low"])
    assert metrics["num_scored"] == 144

    model = "demo__none_full"
    export = ["export", str(ours), "--to", "vlmevalkit", "--output", str(bench.folder / "outputs")]
    subprocess.run([*encodeonce, *export], env=bench.environment(), check=True)
    arguments = ("--data", "demo", "--model", model, "--mode", "eval")
    said = bench.ask(*arguments, benchmarks=DEMO_BENCHMARK)
    assert said.returncode == 0, said.text
    assert bench.status("demo", model)["metrics"] == metrics


def test_frames_as_pictures_give_the_answers_that_the_video_gives(bench: Bench) -> None:
    benchmarks = [_questions(bench, "heldout-00.mp4", "heldout-01.mp4")]
    arguments = ("--data", "mine", "--model", "encodeonce")
    bench.ask(*arguments, benchmarks=benchmarks)
    from_video = bench.predictions("mine")
    said = bench.ask(*arguments, benchmarks=benchmarks, vlmevalkit={"videos": "frames"})
    assert said.returncode == 0, said.text
    assert bench.predictions("mine") == from_video
    # Pictures are files of their own: nothing is shared with the video's features.
    assert said.hits == (0, 16)


def test_variants_are_models_that_answer_from_the_same_features(bench: Bench) -> None:
    benchmarks = [_questions(bench, "heldout-00.mp4", "heldout-01.mp4")]
    # What is left of the clip before the question is read cannot answer it.
    few = {"method": "streaming_llm", "keep": 0.02, "scope": "media", "label": "few"}
    full, compressed = "encodeonce-none_full", "encodeonce-none_few"
    arguments = ("--data", "mine", "--model", full, compressed)
    said = bench.ask(*arguments, benchmarks=benchmarks, kv=["full", few])
    assert said.returncode == 0, said.text
    assert f"models: {full}, {compressed}" in said.text
    assert said.num_questions == 4
    assert said.hits == (16, 32)
    assert len(bench.predictions("mine", full)) == 2
    assert bench.predictions("mine", full) != bench.predictions("mine", compressed)


def test_pictures_and_parts_of_videos_of_our_benchmarks(bench: Bench) -> None:
    clip = _questions(bench, "heldout-00.mp4")
    Image.new("RGB", (64, 64), "white").save(bench.folder / "clips" / "white.png")
    picture = {"id": "white", "image": "white.png", "question": "Which digit?", "answer": "1"}
    part = {"id": "part", "video": "heldout-00.mp4", "clip_start_s": 0.0, "clip_end_s": 1.0}
    benchmarks = []
    for label, line in (("pictures", picture), ("parts", {**picture, "image": None, **part})):
        file = bench.folder / f"{label}.jsonl"
        file.write_text(json.dumps(line) + "\n", encoding="utf-8")
        options = {**clip["options"], "file": str(file)}
        benchmarks.append({"name": "questions", "label": label, "options": options})
    frames = {"policy": "uniform_inclusive", "num_frames": 3}
    arguments = ("--data", "pictures", "parts", "--model", "encodeonce")
    said = bench.ask(*arguments, benchmarks=benchmarks, frames=frames)
    assert said.returncode == 0, said.text
    assert said.num_questions == 2
    assert said.hits == (0, 1 + 3)
    for label in ("pictures", "parts"):
        assert bench.status(label)["metrics"]["num_scored"] == 1
    whole = bench.ask(*arguments[:1], "mine", *arguments[3:], benchmarks=[clip], frames=frames)
    assert whole.hits == (1, 3)  # the first frame is that of the part


def test_a_missing_video_fails_its_own_question_and_the_command(bench: Bench) -> None:
    benchmarks = [_questions(bench, "heldout-00.mp4", "gone.mp4", "heldout-01.mp4")]
    said = bench.ask("--data", "mine", "--model", "encodeonce", benchmarks=benchmarks)
    assert said.returncode == 1
    assert "1 not answered: MissingMedia" in said.text
    predictions = bench.predictions("mine")
    assert predictions[1].startswith("Failed to obtain answer via API. MissingMedia")
    metrics = bench.status("mine")["metrics"]
    assert (metrics["num_samples"], metrics["num_failed"], metrics["num_scored"]) == (3, 1, 2)
    assert "33.33% (1/3)" in said.text  # the kit's own count of failed answers

    shutil.copy(DEMO().media_root / "clips" / "heldout-02.mp4", bench.folder / "clips" / "gone.mp4")
    again = bench.ask("--data", "mine", "--model", "encodeonce", "--reuse", benchmarks=benchmarks)
    assert again.returncode == 0, again.text
    assert again.num_questions == 1
    assert bench.status("mine")["metrics"]["num_scored"] == 3


def test_the_kit_knows_a_failure_by_the_text_that_we_give_it() -> None:
    source = (Path(KIT) / "vlmeval" / "inference.py").read_text("utf-8")
    assert f"FAIL_MSG = '{FAILED}'" in source


def test_a_name_that_the_kit_has_is_refused(bench: Bench) -> None:
    said = bench.ask("--data", "x", vlmevalkit={"name": "llava_v1.5_7b"})
    assert said.returncode == 1
    assert "VLMEvalKit already uses the name 'llava_v1.5_7b'" in said.text


def _questions(bench: Bench, *clips: str) -> dict[str, Any]:
    """Write a question on each clip; a clip that the demo has is copied."""
    folder = bench.folder / "clips"
    folder.mkdir(exist_ok=True)
    lines = []
    for clip in clips:
        if (DEMO().media_root / "clips" / clip).exists():
            shutil.copy(DEMO().media_root / "clips" / clip, folder / clip)
        question = {"id": clip, "video": clip, "question": "Which digit is shown first?"}
        lines.append(json.dumps({**question, "answer": "7"}) + "\n")
    (bench.folder / "questions.jsonl").write_text("".join(lines), encoding="utf-8")
    options = {"file": str(bench.folder / "questions.jsonl"), "media_root": str(folder)}
    return {"name": "questions", "label": "mine", "options": options}
