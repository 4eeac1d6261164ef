"""Code that comes with a checkpoint: run only if the user has named exactly this code."""

import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from encodeonce.models.checkpoint.files import CheckpointError, local_checkpoint
from encodeonce.models.checkpoint.remote_code import PinnedCode, check_trusted, code_sha256
from encodeonce.models.family import find_family
from encodeonce.models.spec import ModelSpec, RemoteCode, VisionSpec
from tests.contracts.family import VIDEO
from tests.fixtures.tiny.minicpm_v import write_tiny_minicpm_v
from tests.fixtures.tiny.parts import write_no_weights
from tests.jobs.scene import make_scene

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def write_code(folder: Path, **sources: str) -> Path:
    for name, source in sources.items():
        (folder / f"{name}.py").write_text(source, encoding="utf-8")
    return folder


def trusted(folder: Path) -> ModelSpec:
    pin = RemoteCode(sha256=code_sha256(folder))
    return ModelSpec(path=str(folder), trust_remote_code=pin)


def test_a_class_is_loaded_with_what_it_imports_relatively(tmp_path: Path) -> None:
    write_code(tmp_path, one="class One:\n    x = 1\n", two="from .one import One as Two\n")
    assert PinnedCode(tmp_path, trusted(tmp_path)).load("two.Two").x == 1


def test_without_trust_nothing_is_run_and_the_pin_to_write_is_told(tmp_path: Path) -> None:
    write_code(tmp_path, code="raise SystemExit('it was run')\n")
    with pytest.raises(CheckpointError, match=f"sha256: {code_sha256(tmp_path)}"):
        PinnedCode(tmp_path, ModelSpec(path=str(tmp_path)))


def test_changed_code_is_refused(tmp_path: Path) -> None:
    model = trusted(write_code(tmp_path, code="class A: pass\n"))
    write_code(tmp_path, code="class A: evil = True\n")
    with pytest.raises(CheckpointError, match="they are not what was trusted"):
        PinnedCode(tmp_path, model)
    with pytest.raises(CheckpointError, match="they are not what was trusted"):
        check_trusted(write_code(tmp_path, code="class A: pass\n", more=""), model)


def test_what_was_digested_is_what_is_run(tmp_path: Path) -> None:
    write_code(tmp_path, code="class A:\n    x = 'read'\n")
    code = PinnedCode(tmp_path, trusted(tmp_path))
    write_code(tmp_path, code="class A:\n    x = 'changed since'\n")
    assert code.load("code.A").x == "read"
    assert not list(tmp_path.rglob("__pycache__"))


def test_two_versions_are_kept_apart(tmp_path: Path) -> None:
    write_code(tmp_path, code="class A:\n    x = 1\n")
    one = PinnedCode(tmp_path, trusted(tmp_path))
    write_code(tmp_path, code="class A:\n    x = 2\n")
    two = PinnedCode(tmp_path, trusted(tmp_path))
    assert (one.load("code.A").x, two.load("code.A").x) == (1, 2)


def test_names_of_an_older_library_are_given(tmp_path: Path) -> None:
    write_code(tmp_path, code="class A:\n    x = List\n")
    with pytest.raises(CheckpointError, match="NameError: name 'List' is not defined"):
        PinnedCode(tmp_path, trusted(tmp_path)).load("code.A")
    assert PinnedCode(tmp_path, trusted(tmp_path), {"List": list}).load("code.A").x is list


def test_a_library_that_is_missing_is_named(tmp_path: Path) -> None:
    write_code(tmp_path, code="import not_installed_anywhere\n")
    with pytest.raises(CheckpointError, match="imports 'not_installed_anywhere', which is not"):
        PinnedCode(tmp_path, trusted(tmp_path)).load("code.A")


def test_a_module_never_shadows_another_of_its_name(tmp_path: Path) -> None:
    write_code(tmp_path, json="class A: pass\n", code="import json\nA = json.JSONDecoder\n")
    found = PinnedCode(tmp_path, trusted(tmp_path)).load("code.A")
    assert found is sys.modules["json"].JSONDecoder


@pytest.mark.parametrize(
    "value",
    [True, {}, {"revision": "main"}, {"revision": COMMIT[:12]}, {"sha256": COMMIT}],
)
def test_what_is_no_pin_is_refused_when_the_run_file_is_read(value: object) -> None:
    with pytest.raises(ValidationError):
        ModelSpec.model_validate({"path": "a/b", "trust_remote_code": value})


def test_code_and_weights_are_of_one_commit() -> None:
    trust = {"revision": COMMIT}
    ModelSpec.model_validate({"path": "a/b", "revision": COMMIT, "trust_remote_code": trust})
    with pytest.raises(ValidationError, match="come from one commit"):
        ModelSpec.model_validate({"path": "a/b", "revision": "main", "trust_remote_code": trust})


def test_a_folder_has_no_revision_and_a_hub_repository_no_digest(tmp_path: Path) -> None:
    write_code(tmp_path, code="")
    model = ModelSpec(path=str(tmp_path), trust_remote_code=RemoteCode(revision=COMMIT))
    with pytest.raises(CheckpointError, match="nobody can say which revision a folder is of"):
        check_trusted(tmp_path, model)
    pin = RemoteCode(sha256=code_sha256(tmp_path))
    with pytest.raises(CheckpointError, match="a hub repository is pinned by its commit"):
        check_trusted(tmp_path, ModelSpec(path="org/name", trust_remote_code=pin))


def test_from_the_hub_exactly_the_pinned_commit_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {}

    def snapshot_download(path: str, revision: str | None, allow_patterns: list[str]) -> str:
        asked.update(path=path, revision=revision, code="*.py" in allow_patterns)
        return str(tmp_path)

    monkeypatch.setattr("encodeonce.models.checkpoint.files.snapshot_download", snapshot_download)
    (tmp_path / "config.json").write_text("{}")
    write_no_weights(tmp_path)
    local_checkpoint(ModelSpec(path="a/b", revision="main"))
    assert asked == {"path": "a/b", "revision": "main", "code": False}
    model = ModelSpec(path="a/b", trust_remote_code=RemoteCode(revision=COMMIT))
    local_checkpoint(model)
    assert asked == {"path": "a/b", "revision": COMMIT, "code": True}
    check_trusted(tmp_path, model)


def test_a_run_without_trust_is_refused_before_any_media_is_opened(tmp_path: Path) -> None:
    scene = make_scene(tmp_path, num_clips=1)
    (scene.folder / "other").mkdir()
    folder = write_tiny_minicpm_v(scene.folder / "other")
    (scene.media_root / "0.mp4").write_bytes(b"never read")
    model = {"path": str(folder), "dtype": "float32", "device": "cpu"}
    refused = scene.execute("run", model=model, vision={"tap": "projected"})
    assert refused.exit_code == 1
    assert "model.trust_remote_code: {sha256: " in " ".join(refused.stderr.split())
    assert not scene.output.exists()


def test_the_code_is_in_the_signature(tmp_path: Path) -> None:
    folder = write_tiny_minicpm_v(tmp_path)

    def digest() -> str:
        family, path = find_family(trusted(folder))
        vision = family.vision(path, trusted(folder), VisionSpec(tap="projected"))
        return vision.signature(VIDEO.info, VIDEO.indices).digest

    before = digest()
    path = folder / "resampler.py"
    path.write_text(path.read_text(encoding="utf-8") + "# another line\n", encoding="utf-8")
    assert digest() != before
