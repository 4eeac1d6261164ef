"""The demo's compressors: for the demo's model, and better than a random choice."""

from pathlib import Path

import pytest

from encodeonce.models.checkpoint.files import DEMO_CHECKPOINT, checkpoint_digest, file_digest
from encodeonce.models.kv.registry import check_kv, find_method, for_workers
from encodeonce.models.kv.spec import KVSpec
from encodeonce.models.kv.trained.header import SHIPPED, find_compressor, read_header

NAMES = sorted(folder.name for folder in SHIPPED.iterdir())


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_compressor_is_found_by_name_anywhere(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    header = read_header(find_compressor(name))
    spec = KVSpec(method="ccm", keep=1 / header.factor, scope="media", options={"path": name})
    check_kv(spec)
    found = for_workers(spec)
    assert found.options["path"] == str(SHIPPED / name)
    assert found.title == f"ccm@{spec.keep:g}(path={name}):media"
    method = find_method(found)
    assert method is not None
    method.check_model(checkpoint_digest(DEMO_CHECKPOINT, file_digest))
    held_out = header.training["held_out"]
    assert held_out["ccm"]["kl"] < held_out["random"]["kl"] / 2


def test_an_own_folder_of_that_name_comes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / NAMES[0]).mkdir()
    assert find_compressor(NAMES[0]) == tmp_path / NAMES[0]


def test_a_path_is_no_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_compressor(f"my/{NAMES[0]}") == tmp_path / "my" / NAMES[0]
