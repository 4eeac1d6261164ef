"""The main job from the command line: what is encoded, answered and reported."""

from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from encodeonce.harness.run.jsonl import read_json_lines
from tests.contracts.logits import TOLERANCE, NotedLogits
from tests.jobs.scene import Scene, make_scene, write_questions


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return make_scene(tmp_path)


def logits(output: Path) -> dict[str, str]:
    lines = read_json_lines(output / "records.jsonl")
    return {line["sample"]: line["logits_sha256"] for line in lines}


def test_a_run_encodes_once_answers_from_the_store_and_agrees_with_plain_transformers(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted = NotedLogits(monkeypatch)
    done = scene.execute("run", check_uncached="all")
    assert done.exit_code == 0, done.stderr
    assert "hit rate 0 %, 12 units encoded" in done.stdout
    assert "hit rate 100 %, 6 of 6 answered" in done.stdout
    noted.assert_no_close_calls()
    assert "cached and uncached answers identical: 6 of 6 (logits bit for bit: " in done.stdout
    report = scene.report()
    # Two steps of prefill round otherwise than one, and a frame alone otherwise than several.
    assert report["comparison"]["largest_logit_difference"] < TOLERANCE
    assert report["precompute"]["num_frames_decoded"] == 12
    assert report["evaluation"]["num_encoded"] == 0
    assert report["evaluation"]["bytes_read"] > 0
    page = (scene.output / "report.md").read_text(encoding="utf-8")
    assert "## Answers" in page
    assert "| decode kernels | prefix flash_cpu, tokens flash_cpu, quantised copy |" in page
    assert "Answers</h2>" in (scene.output / "report.html").read_text(encoding="utf-8")
    assert {name: stage["clock"] for name, stage in report["timeline"].items()} == {
        "precompute": "seconds",
        "evaluate": "seconds",
    }


def test_more_frames_decode_and_encode_only_those_that_are_missing(scene: Scene) -> None:
    assert scene.execute("precompute").exit_code == 0
    wider = {"policy": "uniform_inclusive", "num_frames": 8}
    done = scene.execute("precompute", frames=wider, output=str(scene.folder / "wider"))
    assert done.exit_code == 0, done.stderr
    before = {0, 7, 15, 23}
    after = {0, 3, 6, 9, 13, 16, 19, 23}
    found = len(before & after)
    assert len(scene.stored_keys()) == 3 * len(before | after)
    assert f"{3 * (8 - found)} units encoded" in done.stdout


def test_evaluation_without_features_stops_before_any_model_is_loaded(scene: Scene) -> None:
    done = scene.execute("eval")
    assert done.exit_code == 1
    assert "12 missing" in done.stdout
    assert "encodeonce precompute" in done.stdout
    assert not (scene.output / "records.jsonl").exists()


def test_on_miss_encode_fills_the_store_while_evaluating(scene: Scene) -> None:
    cache = {"path": str(scene.folder / "cache"), "on_miss": "encode"}
    done = scene.execute("eval", cache=cache)
    assert done.exit_code == 0, done.stderr
    assert scene.report()["evaluation"]["hit_rate"] == 0.0
    assert len(scene.stored_keys()) == 12
    again = scene.execute("eval", cache=cache, output=str(scene.folder / "again"))
    assert "hit rate 100 %" in again.stdout
    assert logits(scene.folder / "again") == logits(scene.output)


def test_one_changed_weight_of_the_tower_makes_every_look_up_a_miss(scene: Scene) -> None:
    assert scene.execute("precompute").exit_code == 0
    weights_path = scene.folder / "model" / "model.safetensors"
    weights = load_file(weights_path)
    name = next(name for name in sorted(weights) if "vision_tower" in name)
    weights[name].view(-1)[0] += 1e-3
    save_file(weights, weights_path, metadata={"format": "pt"})
    done = scene.execute("precompute", "--dry-run")
    assert "0 units in the store, 12 missing" in done.stdout


def test_dry_run_says_what_is_there_and_encodes_nothing(scene: Scene) -> None:
    done = scene.execute("precompute", "--dry-run")
    assert done.exit_code == 0, done.stderr
    printed = " ".join(done.stdout.split())  # lines break where the folder's name makes them
    assert "3 media items: 0 units in the store, 12 missing, 0 damaged" in printed
    assert "0 media items unusable" in printed
    assert not scene.stored_keys()


def broken_media(scene: Scene) -> list[dict[str, Any]]:
    """Add five unusable media, and return a question on each."""
    root = scene.media_root
    whole = (root / "0.mp4").read_bytes()
    (root / "truncated.mp4").write_bytes(whole[: len(whole) // 2])
    (root / "text.mp4").write_text("not a video " * 100)
    (root / "empty.mp4").write_bytes(b"")
    names = ["truncated.mp4", "text.mp4", "empty.mp4", "absent.mp4", "../outside.mp4"]
    (scene.folder / "outside.mp4").write_bytes(whole)
    return [
        {"id": name, "question": "?", "answer": "yes", "video": name} for name in (*names, "1.mp4")
    ]


def test_bad_media_fail_their_own_samples_and_the_exit_status(scene: Scene) -> None:
    write_questions(scene.folder, broken_media(scene))
    done = scene.execute("run", check_uncached="all")
    assert done.exit_code == 1
    errors = {line["sample"]: line["error"] for line in scene.lines("records")}
    assert {sample: error and error["type"] for sample, error in errors.items()} == {
        "truncated.mp4": "UndecodableMedia",
        "text.mp4": "UndecodableMedia",
        "empty.mp4": "UndecodableMedia",
        "absent.mp4": "MissingMedia",
        "../outside.mp4": "MediaOutsideRoot",
        "1.mp4": None,
    }
    assert "1 of 6 answered" in done.stdout
    assert "MissingMedia" in done.stdout
    assert "5 of 6 samples have no answer" in done.stderr
    assert "identical: 1 of 1" in done.stdout


def test_what_was_mended_is_answered_by_the_repetition_and_the_rest_is_not_asked_again(
    scene: Scene,
) -> None:
    clip = scene.media_root / "2.mp4"
    whole = clip.read_bytes()
    clip.unlink()
    assert scene.execute("run").exit_code == 1
    num_lines = len(scene.lines("records"))
    clip.write_bytes(whole)
    done = scene.execute("run")
    assert done.exit_code == 0, done.stderr
    assert "6 of 6 answered" in done.stdout
    assert len(scene.lines("records")) == num_lines + 2


def test_another_configuration_in_the_same_folder_is_refused(scene: Scene) -> None:
    assert scene.execute("run").exit_code == 0
    done = scene.execute("run", generation={"max_new_tokens": 5})
    assert done.exit_code == 1
    assert "differs in: generation" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unfinished_run_has_a_report(scene: Scene) -> None:
    assert scene.execute("precompute").exit_code == 0
    assert "Feature store" in (scene.output / "report.md").read_text(encoding="utf-8")


def test_the_order_of_the_questions_changes_no_bit(scene: Scene) -> None:
    assert scene.execute("run").exit_code == 0
    lines = (scene.folder / "questions.jsonl").read_text().splitlines(keepends=True)
    (scene.folder / "questions.jsonl").write_text("".join(reversed(lines)))
    done = scene.execute("run", output=str(scene.folder / "reversed"))
    assert done.exit_code == 0, done.stderr
    assert logits(scene.folder / "reversed") == logits(scene.output)


def test_neither_a_limit_nor_what_is_answered_already_changes_a_bit(scene: Scene) -> None:
    assert scene.execute("run").exit_code == 0
    limited = scene.folder / "limited"
    done = scene.execute("run", output=str(limited), limit=3)
    assert "3 of 3 answered" in done.stdout
    assert len(logits(limited)) == 3
    done = scene.execute("run", output=str(limited))
    assert done.exit_code == 0, done.stderr
    assert len(list(read_json_lines(limited / "records.jsonl"))) == 6
    assert logits(limited) == logits(scene.output)


def test_a_question_that_cannot_be_asked_fails_alone(scene: Scene) -> None:
    texts = {"a": "What is shown?", "b": "What does <image> mean?", "c": "What moves?"}
    write_questions(
        scene.folder,
        [
            {"id": name, "question": text, "answer": "yes", "video": "0.mp4"}
            for name, text in texts.items()
        ],
    )
    done = scene.execute("run")
    assert done.exit_code == 1
    errors = {line["sample"]: line["error"] for line in scene.lines("records")}
    assert {name for name, error in errors.items() if error} == {"b"}
    assert errors["b"]["type"] == "ValueError"


def benchmark(scene: Scene, scoring: str) -> dict[str, Any]:
    options = {
        "file": str(scene.folder / "questions.jsonl"),
        "media_root": str(scene.media_root),
    }
    return {"name": "questions", "options": options, "scoring": scoring}


def test_options_are_chosen_by_their_likelihood(scene: Scene) -> None:
    questions = [
        {
            "id": str(clip),
            "question": "What is shown?",
            "choices": ["a dog", "a cat", "a car"],
            "answer": "B",
            "video": f"{clip}.mp4",
        }
        for clip in range(3)
    ]
    write_questions(scene.folder, questions)
    changes = {"benchmarks": [benchmark(scene, "choice_likelihood")], "check_uncached": "all"}
    done = scene.execute("run", **changes)
    assert done.exit_code == 0, done.stderr
    assert "identical: 3 of 3 (log-probabilities differ by at most" in done.stdout
    for line in scene.lines("records"):
        assert line["log_probs"].keys() == {"A", "B", "C"}
        assert line["text"] == max("ABC", key=line["log_probs"].__getitem__)
        assert line["score"] == float(line["text"] == "B")
        assert line["num_scored_tokens"] == {"A": 1, "B": 1, "C": 1}


def test_a_reference_text_is_measured_and_not_scored(scene: Scene) -> None:
    changes = {"benchmarks": [benchmark(scene, "nll")], "check_uncached": "all"}
    done = scene.execute("run", **changes)
    assert done.exit_code == 0, done.stderr
    lines = scene.lines("records")
    total = -sum(line["log_probs"]["reference"] for line in lines)
    nll = scene.report()["evaluation"]["benchmarks"]["questions"]["nll"]
    assert nll["num_tokens"] == 6 * len("yes")
    assert nll["per_token"] == pytest.approx(total / nll["num_tokens"])
    assert scene.report()["comparison"]["largest_log_prob_difference"] < 10 * TOLERANCE
    assert scene.report()["evaluation"]["benchmarks"]["questions"]["num_scored"] == 0
    assert f"{nll['per_token']:.4f} per token" in (scene.output / "report.md").read_text()


def test_scoring_by_options_that_are_not_there_is_refused(scene: Scene) -> None:
    done = scene.execute("run", benchmarks=[benchmark(scene, "choice_likelihood")])
    assert done.exit_code == 1
    assert "sample '0-0' has none" in done.stderr
