"""lmms-eval's command line with ``--model encodeonce``; `make test-plugins` runs this."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from encodeonce.cache_store.hdf5 import Hdf5Store
from tests.plugins.lmms_eval.evaluation import (
    MODEL,
    NUM_CLIPS,
    NUM_FRAMES,
    Outcome,
    command,
    environment,
    evaluate,
    run,
    write_questions,
)

pytestmark = pytest.mark.slow
OURS = f"{MODEL},store=store"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("evaluation")
    assert write_questions(folder) == 6 * NUM_CLIPS
    return folder


@pytest.fixture(scope="module")
def first(folder: Path) -> Outcome:
    return evaluate(folder, "demo_video", model_args=OURS)


def score(outcome: Outcome, task: str = "demo_video", metric: str = "right,none") -> float:
    return float(outcome.results["results"][task][metric])


def test_a_first_run_encodes_and_the_model_really_answers(first: Outcome) -> None:
    assert first.results["config"]["model"] == "encodeonce"
    assert "ChatModel (chat)" in first.results["config"]["model_backend"]
    assert first.figure("feature_hit_rate") == 0
    assert first.figure("units_encoded") == NUM_CLIPS * NUM_FRAMES
    assert first.figure("prefills") == NUM_CLIPS
    assert score(first) > 0.7
    assert first.samples["demo_video"][0]["token_counts"][0]["output_tokens"] >= 1
    assert f"0 % of {NUM_CLIPS * NUM_FRAMES} units found" in first.log


@pytest.fixture(scope="module")
def simple(folder: Path) -> Outcome:
    tasks = "demo_video,demo_frames,demo_choice,demo_rounds,demo_text"
    options = ("--force_simple", "--batch_size", "3")
    return evaluate(folder, tasks, *options, model_args=OURS)


def test_a_second_run_finds_everything_and_scores_the_same(folder: Path, first: Outcome) -> None:
    tasks = "demo_video,demo_rounds,demo_text"
    second = evaluate(folder, tasks, model_args=f"{OURS},on_miss=error")
    assert second.figure("feature_hit_rate") == 1
    assert second.figure("units_encoded") == 0
    assert second.answers("demo_video") == first.answers("demo_video")
    assert score(second) == score(first)
    assert [one for one, _ in second.answers("demo_rounds")] == first.answers("demo_video")
    assert any(second.answers("demo_text"))  # blind, this model often says nothing


def test_the_simple_form_answers_every_type_of_request(first: Outcome, simple: Outcome) -> None:
    assert "SimpleModel (simple)" in simple.results["config"]["model_backend"]
    for task in ("demo_video", "demo_frames"):
        assert simple.answers(task) == first.answers("demo_video")
    assert [one for one, _ in simple.answers("demo_rounds")] == first.answers("demo_video")
    assert score(simple, "demo_choice", "acc,none") > 0.7
    assert any(simple.answers("demo_text"))  # blind, this model often says nothing
    assert score(simple, "demo_text") < score(first)


def test_a_stock_class_gives_the_same_answers(
    folder: Path, first: Outcome, simple: Outcome, capsys: pytest.CaptureFixture[str]
) -> None:
    """With frames as pictures: none of lmms-eval's classes shows LLaVA-1.5 a video.

    llava_hf alone loads this architecture. Its chat form gives the processor paths of videos and
    no pictures, catches the error and answers with empty texts; its simple form writes
    ``<video>``, which is text to this model, and the model answers blind.
    """
    stock_args = f"{MODEL},device_map=cpu"
    stock = evaluate(folder, "demo_frames", model="llava_hf", model_args=stock_args)
    ours = evaluate(folder, "demo_frames", model_args=OURS)
    assert ours.figure("feature_hit_rate") == 1
    assert ours.answers("demo_frames") == stock.answers("demo_frames")
    assert ours.answers("demo_frames") == first.answers("demo_video")
    assert score(ours, "demo_frames") == score(stock, "demo_frames") == score(first)
    with capsys.disabled():
        sys.stdout.write(
            f"\n{6 * NUM_CLIPS} questions on {NUM_CLIPS} clips as frames, llava_hf / encodeonce: "
            f"answering {stock.answering_s:.1f} s / {ours.answering_s:.1f} s "
            f"(x {stock.answering_s / ours.answering_s:.1f}; llava_hf's without decoding and "
            f"preprocessing), the whole run {stock.whole_s:.1f} s / {ours.whole_s:.1f} s\n"
        )


def test_a_variant_is_said_in_model_args_and_answers_from_the_same_features(
    folder: Path, first: Outcome
) -> None:
    variant = f'{OURS},on_miss=error,weights=rtn,weights.options={{"group_size": 32}}'
    outcome = evaluate(folder, "demo_video", model_args=f"{variant},kv=snapkv,kv.keep=0.5")
    assert outcome.figure("feature_hit_rate") == 1
    assert 0.4 < outcome.figure("kv_kept") < 0.6
    assert "encodeonce rtn(group_size=32)/snapkv@0.5: 100 %" in outcome.log


def test_a_killed_run_goes_on_where_it_was(tmp_path: Path, first: Outcome) -> None:
    num_questions = write_questions(tmp_path)
    arguments = f"{OURS},window=3"
    cache = ("--use_cache", str(tmp_path / "answers"))
    process = subprocess.Popen(
        command("encodeonce", arguments, "demo_video", *cache),
        cwd=tmp_path,
        env=environment(tmp_path, DEMO_TASK_PAUSE_S="0.3"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while num_kept(tmp_path) < 4:
            assert process.poll() is None, "it was over before it could be killed"
            time.sleep(0.02)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    kept = num_kept(tmp_path)
    assert 4 <= kept < num_questions
    resumed = evaluate(tmp_path, "demo_video", *cache, model_args=arguments)
    assert resumed.figure("answers") == num_questions - kept
    assert resumed.answers("demo_video") == first.answers("demo_video")
    assert score(resumed) == score(first)


def num_kept(folder: Path) -> int:
    """Count the answers that lmms-eval's response cache holds, whole lines only."""
    logs = [path.read_text(encoding="utf-8") for path in folder.glob("answers/runs/*/*.jsonl")]
    return sum(log.count("\n") for log in logs)


def test_several_processes_share_the_store(tmp_path: Path, first: Outcome) -> None:
    write_questions(tmp_path)
    program = command("encodeonce", OURS, "demo_video")[1:]
    ranks = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")
    done = run(tmp_path, [sys.executable, *ranks, *program])
    samples = [*tmp_path.glob("out/*/*_samples_demo_video.jsonl")]
    assert samples, done.stdout[-4000:]
    lines = [json.loads(line) for line in samples[0].read_text().splitlines()]
    lines.sort(key=lambda line: line["doc_id"])
    assert [line["filtered_resps"] for line in lines] == first.answers("demo_video")
    stored = list(Hdf5Store(tmp_path / "store" / "features").keys())
    assert len(stored) == len(set(stored)) == NUM_CLIPS * NUM_FRAMES


def test_a_task_that_samples_is_refused_before_the_first_answer(folder: Path) -> None:
    done = run(folder, command("encodeonce", OURS, "demo_sampled"))
    assert "UnsupportedRequest: task demo_sampled: it asks for sampling" in done.stdout
    assert "--gen_kwargs do_sample=False,temperature=0" in done.stdout


def test_a_bad_video_may_be_left_empty(tmp_path: Path, first: Outcome) -> None:
    num_questions = write_questions(tmp_path)
    questions = (tmp_path / "questions.json").read_text(encoding="utf-8").splitlines()
    broken = {**json.loads(questions[0]), "video": str(tmp_path / "absent.mp4")}
    (tmp_path / "questions.json").write_text("\n".join([json.dumps(broken), *questions[1:]]))
    stopped = run(tmp_path, command("encodeonce", OURS, "demo_video"))
    assert "task demo_video, document 0: MissingMedia: 'absent.mp4'" in stopped.stdout
    lenient = evaluate(tmp_path, "demo_video", model_args=f"{OURS},on_error=empty")
    assert lenient.answers("demo_video") == ["", *first.answers("demo_video")[1:]]
    assert lenient.figure("errors") == 1
    assert lenient.figure("answers") == num_questions - 1
