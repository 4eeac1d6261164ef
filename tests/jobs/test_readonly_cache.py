"""A group's shared cache under one's own: `cache.readonly`."""

import uuid
from pathlib import Path

import pytest

from tests.jobs.scene import Scene, make_scene


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return make_scene(tmp_path)


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_run_reads_a_shared_cache_and_writes_only_its_own(scene: Scene) -> None:
    shared, own = scene.folder / "cache", scene.folder / "own"
    assert scene.execute("precompute", output=str(scene.folder / "theirs")).exit_code == 0
    before = contents(shared)
    wider = {"policy": "uniform_inclusive", "num_frames": 8}  # both take frames 0 and 23
    cache = {"path": str(own), "readonly": [str(shared)]}
    done = scene.execute("run", cache=cache, frames=wider)
    assert done.exit_code == 0, done.stderr
    assert "hit rate 25 % (100 % of it in read-only caches), 18 units encoded" in done.stdout
    assert "hit rate 100 % (25 % of it in read-only caches), 6 of 6 answered" in done.stdout
    assert contents(shared) == before
    assert sum(record["cache"]["num_hits_below"] for record in scene.lines("records")) == 6
    assert len(list((own / "features").rglob("*.h5"))) == 3


@pytest.mark.parametrize("verb", ["run", "eval"])
def test_a_shared_cache_that_is_not_there_is_refused_at_once(scene: Scene, verb: str) -> None:
    cache = {"path": str(scene.folder / "own"), "readonly": [str(scene.folder / "nowhere")]}
    done = scene.execute(verb, cache=cache)
    assert done.exit_code == 1
    assert "no feature store at" in done.stderr
    assert "nowhere" in done.stderr
    assert not (scene.output / "records.jsonl").exists()


def test_a_cache_named_twice_is_refused(scene: Scene) -> None:
    path = str(scene.folder / "cache")
    done = scene.execute("run", cache={"path": path, "readonly": [path]})
    assert done.exit_code == 1
    assert "is there twice" in done.stderr


def test_features_in_object_storage_answer_as_those_in_a_folder(scene: Scene) -> None:
    assert scene.execute("run", output=str(scene.folder / "folder")).exit_code == 0
    remote = f"memory://{uuid.uuid4().hex}/features"
    cache = {"path": str(scene.folder / "here"), "remote": remote}
    done = scene.execute("run", cache=cache)
    assert done.exit_code == 0, done.stderr
    assert "12 units encoded" in done.stdout
    other = {"path": str(scene.folder / "there"), "remote": remote}
    again = scene.execute("run", cache=other, output=str(scene.folder / "again"))
    assert "precompute   hit rate 100 %, 0 units encoded" in again.stdout
    below = {"path": str(scene.folder / "own"), "readonly": [remote]}
    third = scene.execute("run", cache=below, output=str(scene.folder / "third"))
    assert "hit rate 100 % (100 % of it in read-only caches), 6 of 6" in third.stdout
    digests = [
        {line["sample"]: line["logits_sha256"] for line in scene.lines_of(folder, "records")}
        for folder in (scene.folder / name for name in ("folder", "out", "again", "third"))
    ]
    assert digests[1:] == digests[:1] * 3


@pytest.mark.parametrize("remote", ["bucket/features", "ftp://host/x"])
def test_what_is_no_object_storage_is_refused(scene: Scene, remote: str) -> None:
    done = scene.execute("run", cache={"path": str(scene.folder / "cache"), "remote": remote})
    assert done.exit_code == 1
    assert "s3://BUCKET/PREFIX" in done.stderr
