"""``encodeonce store``: what it prints, and its exit status."""

import uuid
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from encodeonce.cache_store.hdf5 import Hdf5Store
from encodeonce.cache_store.objects.home import ObjectHome
from encodeonce.harness.run.sizes import parse_bytes, parse_seconds
from encodeonce.jobs.cli.store import store_app
from tests.cache_store.stores import entry_of
from tests.contracts.store import assert_same_bits


def call(*words: object) -> Result:
    result = CliRunner().invoke(store_app, [str(word) for word in words], env={"COLUMNS": "200"})
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


@pytest.fixture
def root(tmp_path: Path) -> Path:
    Hdf5Store(tmp_path / "store").put([entry_of(0, 3), entry_of(1, 3)])
    return tmp_path / "store"


def test_stat_says_in_words_what_is_there_and_what_it_depends_on(root: Path) -> None:
    result = call("stat", root)
    assert result.exit_code == 0
    for words in ("bench-0 (3 units)", "cls dropped, layer -2", "PyAV 18.1", "1 pack"):
        assert words in result.stdout


def test_ls_lists_every_media(root: Path) -> None:
    heads, *lines = call("ls", root).stdout.splitlines()
    names = "signature media (sha256) units written (UTC) file made by"
    assert heads.split() == names.split()
    assert len(lines) == 2
    assert entry_of(0).media in "".join(lines)
    for line in lines:
        assert line[heads.index("units") :].startswith("3  ")
    assert call("ls", root, "--media", entry_of(1).media[:5]).stdout.count("\n") == 2
    assert "nothing that matches is stored" in call("ls", root, "--media", "none").stdout


def test_a_run_files_cache_path_is_taken_for_the_store_in_it(root: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    root.rename(cache / "features")
    for words in (["stat"], ["ls"], ["verify"], ["gc", "--max-size", "1TB"]):
        verb, *options = words
        for folder in (cache, cache / "features"):
            done = call(verb, folder, *options)
            assert done.exit_code == 0, done.output
    assert call("export", cache, tmp_path / "x.tar").exit_code == 0
    done = call("import", cache, tmp_path / "x.tar")
    assert "2 already there" in done.stdout or "6 already there" in done.stdout
    assert not (cache / "store.json").exists()


def test_a_store_in_object_storage_is_named_by_its_url(tmp_path: Path) -> None:
    url = f"memory://{uuid.uuid4().hex}/features"
    home = ObjectHome(url, tmp_path / "writer")
    Hdf5Store(home.folder.root, home=home).put([entry_of(0, 3)])
    copies = ("--copies", tmp_path / "copies")
    for words in (["stat", url], ["verify", url], ["gc", url, "--max-size", "1TB"]):
        done = call(*words, *copies)
        assert done.exit_code == 0, done.output
        assert f"store {url}" in done.stdout
    assert entry_of(0).media in call("ls", url, *copies).stdout
    assert call("export", url, tmp_path / "x.tar", *copies).exit_code == 0
    assert "3 already there" in call("import", url, tmp_path / "x.tar", *copies).stdout
    copy = call("verify", home.folder.root)
    assert copy.exit_code == 1
    assert f"packs in {url}: name that URL" in copy.stderr.replace("\n", " ")


def test_verify_of_a_whole_store_succeeds(root: Path) -> None:
    result = call("verify", root)
    assert result.exit_code == 0
    assert "no damage" in result.stdout


def test_verify_of_a_damaged_store_names_the_units_and_fails(root: Path) -> None:
    (pack,) = root.rglob("*.h5")
    pack.chmod(0o644)
    pack.write_bytes(pack.read_bytes()[:2000])
    result = call("verify", root)
    assert result.exit_code == 1
    assert entry_of(0).media in result.stdout
    assert "precompute" in result.stdout
    assert call("verify", root).exit_code == 1  # until they are encoded again
    Hdf5Store(root).put([entry_of(0, 3), entry_of(1, 3)])
    assert call("verify", root).exit_code == 0


def test_gc_says_what_it_would_drop_and_then_drops_it(root: Path) -> None:
    digest = entry_of(0).signature.digest
    said = call("gc", root, "--signature", digest[:8], "--dry-run")
    assert "would drop 1 pack" in said.stdout
    assert entry_of(0).keys[0] in Hdf5Store(root)
    done = call("gc", root, "--signature", digest[:8], "--grace", "0s")
    assert (done.exit_code, done.stdout.count("dropped 1 pack")) == (0, 1)
    assert entry_of(0).keys[0] not in Hdf5Store(root)


def test_export_and_import_carry_a_store(root: Path, tmp_path: Path) -> None:
    media = tmp_path / "media.txt"
    media.write_text(entry_of(1).media + "\n")
    result = call("export", root, tmp_path / "x.tar", "--media-list", media)
    assert "exported 3 units in 1 pack" in result.stdout
    assert call("import", tmp_path / "other", tmp_path / "x.tar").exit_code == 0
    entry = entry_of(1, 3)
    assert_same_bits(Hdf5Store(tmp_path / "other").get(entry.keys), entry.features)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["stat", "nowhere"], "no feature store at nowhere"),
        (["gc", "nowhere", "--max-size", "lots"], "got 'lots'"),
        (["gc", "nowhere", "--unused-for", "3 parsecs"], "30d or 12h"),
        (["import", "nowhere", "absent.tar"], "absent.tar"),
    ],
)
def test_a_users_mistake_is_one_message_and_a_failure(words: list[str], message: str) -> None:
    result = call(*words)
    assert result.exit_code == 1
    assert message in result.stderr.replace("\n", " ")


def test_quantities_are_read_as_people_type_them() -> None:
    assert parse_bytes("1.5 TiB") == 3 * 2**39
    assert parse_bytes("500GB") == 500 * 10**9
    assert parse_seconds("30d") == 30 * 86_400
    assert parse_seconds("90 min") == 5400
    for wrong in ("", "5", "-1d", "1e9B", "5 XB"):
        with pytest.raises(ValueError, match="needs a number"):
            parse_bytes(wrong)
