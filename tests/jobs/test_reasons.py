"""A file that cannot be encoded is named with the reason, in the report of every command."""

from pathlib import Path

import pytest
from PIL import Image

from encodeonce.cache_store.hdf5 import Hdf5Store
from encodeonce.cache_store.store import StoreError
from tests.jobs.scene import Scene, make_scene, write_questions


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    """One clip that is whole, and one picture that is cut short."""
    scene = make_scene(tmp_path, num_clips=1)
    cut = scene.media_root / "trunc.jpg"
    Image.effect_noise((64, 64), 50).convert("RGB").save(cut)
    cut.write_bytes(cut.read_bytes()[:-600])
    line = {"question": "What is shown?", "answer": "yes"}
    questions = [{**line, "id": "cut", "image": "trunc.jpg"}]
    write_questions(tmp_path, [*questions, {**line, "id": "whole", "video": "0.mp4"}])
    return scene


def test_the_report_names_the_file_and_the_reason(scene: Scene) -> None:
    done = scene.execute("run")
    assert done.exit_code == 1
    for text in (done.output, (scene.output / "report.md").read_text("utf-8")):
        (errors,) = text.split("Errors")[1:]
        assert "trunc.jpg" in errors and "truncated" in errors and "MissingFeatures" in errors
    (failed,) = [line for line in scene.lines("records") if line["error"]]
    assert failed["sample"] == "cut"
    assert f"{scene.media_root / 'trunc.jpg'}: UndecodableMedia" in failed["error"]["message"]
    # Evaluation alone refuses to start, and says why as well.
    refused = scene.execute("eval")
    assert refused.exit_code == 1
    assert "precompute failed on" in refused.output and "truncated" in refused.output
    assert "truncated" in scene.execute("precompute", "--dry-run").output


def test_a_store_that_fails_on_a_file_is_the_reason(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object) -> None:
        raise StoreError("writing features: No space left on device: the disk is full")

    monkeypatch.setattr(Hdf5Store, "put", full)
    done = scene.execute("run")
    assert done.exit_code == 1
    (errors,) = done.output.split("Errors")[1:]
    assert "0.mp4" in errors and "the disk is full" in errors and "truncated" in errors


def test_precomputes_reasons_are_shown_beside_other_errors(scene: Scene) -> None:
    # The picture is asked about by no question that fails for it: only precompute saw it.
    assert scene.execute("precompute").exit_code == 1
    line = {"question": "What is shown?", "answer": "yes"}
    write_questions(
        scene.folder,
        [
            {**line, "id": "whole", "video": "0.mp4"},
            {**line, "id": "gone", "video": "gone.mp4"},
        ],
    )
    (scene.output / "run.json").unlink()
    done = scene.execute("run")
    (errors,) = done.output.split("Errors")[1:]
    assert "gone.mp4" in errors and "MissingMedia" in errors
    assert "truncated" in errors and "trunc.jpg" in errors
