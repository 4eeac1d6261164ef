"""A media file that was replaced after it was asked about is asked about again, and no other."""

import json
import logging
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from encodeonce.datasets.media import digest
from encodeonce.harness.results.run_summary import summarize_run
from encodeonce.harness.run.folder import RunFolder
from tests.fixtures.clips import write_clip
from tests.jobs.scene import Scene, make_scene, write_questions


@pytest.fixture(autouse=True)
def settled_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Digests of files written a moment ago are remembered, as they are of older ones."""
    monkeypatch.setattr(digest, "SETTLED_S", -1.0)


def asked(scene: Scene, name: str = "records") -> list[str]:
    return [line["sample"] for line in scene.lines(name)]


def run(scene: Scene, verb: str = "run", **changes: Any) -> None:
    done = scene.execute(verb, **changes)
    assert done.exit_code == 0, done.output


def test_only_the_questions_about_the_replaced_file_are_asked_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    scene = make_scene(tmp_path, num_clips=2)
    run(scene, check_uncached=4)
    before = scene.lines("records")
    write_clip(scene.media_root / "1.mp4", num_frames=24, seed=9)
    run(scene, check_uncached=4)
    again = ["1-0", "1-1"]
    assert asked(scene) == [*(line["sample"] for line in before), *again]
    assert asked(scene, "uncached")[4:] == again
    told = [entry.getMessage() for entry in caplog.records if entry.levelno == logging.WARNING]
    assert any("replaced since" in text and "1.mp4" in text for text in told)
    # What counts is what a new folder would say.
    run(scene, output=str(tmp_path / "fresh"), check_uncached=4)
    kept = {r.sample: r.logits_sha256 for r in RunFolder(scene.output).records("records")}
    fresh = {r.sample: r.logits_sha256 for r in RunFolder(tmp_path / "fresh").records("records")}
    assert kept == fresh
    first = {line["sample"]: line["logits_sha256"] for line in before}
    assert {sample for sample in kept if kept[sample] != first[sample]} == set(again)
    assert summarize_run(RunFolder(scene.output))["comparison"]["num_compared"] == 4
    caplog.clear()
    run(scene)
    assert len(asked(scene)) == 6
    assert not [entry for entry in caplog.records if entry.levelno >= logging.WARNING]


def test_one_picture_of_several_and_the_evaluation_alone(tmp_path: Path) -> None:
    scene = make_scene(tmp_path, num_clips=0)
    line = {"question": "What is shown?", "answer": "yes"}
    scene.media_root.mkdir()
    for number in range(3):
        noise = Image.effect_noise((48, 48), 50 + 50 * number).convert("RGB")
        noise.save(scene.media_root / f"{number}.png")
    write_questions(
        tmp_path,
        [
            {**line, "id": "first", "image": ["0.png", "1.png"]},
            {**line, "id": "second", "image": ["1.png", "2.png"]},
        ],
    )
    cache = {"path": str(tmp_path / "cache"), "on_miss": "encode"}
    run(scene, "eval", cache=cache)
    shutil.copy(scene.media_root / "0.png", scene.media_root / "2.png")
    run(scene, "eval", cache=cache)
    assert asked(scene) == ["first", "second", "second"]


def test_a_file_that_was_only_touched_or_is_gone_keeps_its_answers(tmp_path: Path) -> None:
    scene = make_scene(tmp_path, num_clips=2)
    run(scene)
    os.utime(scene.media_root / "0.mp4")
    run(scene)
    (scene.media_root / "1.mp4").unlink()
    scene.execute("run")  # precompute says that the file is missing
    assert len(asked(scene)) == 4


def test_a_file_that_no_longer_decodes_has_no_answer(tmp_path: Path) -> None:
    scene = make_scene(tmp_path, num_clips=1)
    run(scene)
    (scene.media_root / "0.mp4").write_bytes(b"no video")
    assert scene.execute("run").exit_code == 1
    errors = [record.error for record in RunFolder(scene.output).records("records")]
    assert [error and error.type for error in errors] == ["UndecodableMedia"] * 2


def test_variants_that_are_not_run_again_do_not_count_either(tmp_path: Path) -> None:
    scene = make_scene(tmp_path, num_clips=1)
    half = {"method": "snapkv", "keep": 0.5, "label": "half"}
    run(scene, kv=["full", half])
    write_clip(scene.media_root / "0.mp4", num_frames=24, seed=9)
    run(scene, kv=["full"])
    found = RunFolder(scene.output).records("records")
    assert [record.variant for record in found] == ["none/full"] * 2
    run(scene, kv=["full", half])
    assert len(RunFolder(scene.output).records("records")) == 4


def test_a_run_of_an_earlier_version_is_judged_by_its_journal(tmp_path: Path) -> None:
    scene = make_scene(tmp_path, num_clips=2)
    run(scene)
    path = scene.output / "records.jsonl"
    lines = [{**line} for line in scene.lines("records")]
    for line in lines:
        del line["media_sha256"]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    run(scene)
    assert len(asked(scene)) == 4
    write_clip(scene.media_root / "1.mp4", num_frames=24, seed=9)
    run(scene)
    assert asked(scene)[4:] == ["1-0", "1-1"]
