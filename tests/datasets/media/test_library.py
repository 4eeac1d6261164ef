"""Media files: found under their root, hashed once, and never outside it."""

import hashlib
import os
import time
from pathlib import Path

import pytest

from encodeonce.datasets.media import digest
from encodeonce.datasets.media.ledger import Ledger
from encodeonce.datasets.media.library import MediaLibrary
from encodeonce.datasets.media.media import MediaOutsideRoot, MediaRef, MissingMedia


def ref(path: str) -> MediaRef:
    return MediaRef(kind="video", path=path, clip_s=(1.0, 2.0))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A media root with one settled file, and a secret beside it."""
    root = tmp_path / "root"
    (root / "clips").mkdir(parents=True)
    write(root / "clips" / "a.mp4", b"content")
    (tmp_path / "secret.mp4").write_bytes(b"secret")
    return root


def write(path: Path, content: bytes, age_s: float = 100.0) -> None:
    path.write_bytes(content)
    then = time.time() - age_s
    os.utime(path, (then, then))


def test_a_media_has_the_digest_of_its_bytes(root: Path) -> None:
    media = MediaLibrary(root, Ledger(None)).resolve(ref("clips/a.mp4"))
    assert media.sha256 == hashlib.sha256(b"content").hexdigest()
    assert (media.kind, media.clip_s) == ("video", (1.0, 2.0))
    assert Path(media.uri).read_bytes() == b"content"


def test_the_root_may_be_a_link_and_links_within_it_are_followed(root: Path) -> None:
    link = root.parent / "link"
    link.symlink_to(root)
    (root / "b.mp4").symlink_to(root / "clips" / "a.mp4")
    media = MediaLibrary(link, Ledger(None)).resolve(ref("b.mp4"))
    assert Path(media.uri).read_bytes() == b"content"


@pytest.mark.parametrize(
    "path", ["../secret.mp4", "clips/../../secret.mp4", "clips/../clips/a.mp4"]
)
def test_two_dots_are_refused(path: str, root: Path) -> None:
    with pytest.raises(MediaOutsideRoot, match=r"contain no '\.\.'"):
        MediaLibrary(root, Ledger(None)).resolve(ref(path))


def test_an_absolute_path_is_refused_even_within_the_root(root: Path) -> None:
    with pytest.raises(MediaOutsideRoot, match="relative to the media root"):
        MediaLibrary(root, Ledger(None)).resolve(ref(str(root / "clips" / "a.mp4")))


@pytest.mark.parametrize("through_folder", [False, True])
def test_a_link_out_of_the_root_is_refused(through_folder: bool, root: Path) -> None:
    target = root.parent if through_folder else root.parent / "secret.mp4"
    (root / "out").symlink_to(target)
    with pytest.raises(MediaOutsideRoot, match="is a link to"):
        MediaLibrary(root, Ledger(None)).resolve(ref("out/secret.mp4" if through_folder else "out"))


@pytest.mark.parametrize("path", ["absent.mp4", "clips", "", "loop", "a\0b", "x" * 5000])
def test_what_is_no_file_is_missing(path: str, root: Path) -> None:
    (root / "loop").symlink_to(root / "loop")
    with pytest.raises(MissingMedia):
        MediaLibrary(root, Ledger(None)).resolve(ref(path))


def test_a_file_is_hashed_once_for_all_processes(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(digest, "SETTLED_S", -1.0)
    first = MediaLibrary(root, Ledger(tmp_path / "ledger")).resolve(ref("clips/a.mp4"))
    monkeypatch.setattr(hashlib, "file_digest", None)
    again = MediaLibrary(root, Ledger(tmp_path / "ledger")).resolve(ref("clips/a.mp4"))
    assert again == first


def test_a_changed_file_is_hashed_again(root: Path, tmp_path: Path) -> None:
    library = MediaLibrary(root, Ledger(tmp_path / "ledger"))
    before = library.resolve(ref("clips/a.mp4"))
    write(root / "clips" / "a.mp4", b"CONTENT", age_s=50.0)
    assert library.resolve(ref("clips/a.mp4")).sha256 != before.sha256


def test_a_file_of_the_old_size_and_time_is_hashed_again(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(digest, "SETTLED_S", -1.0)
    library = MediaLibrary(root, Ledger(tmp_path / "ledger"))
    path = root / "clips" / "a.mp4"
    status = path.stat()
    before = library.resolve(ref("clips/a.mp4"))
    time.sleep(0.02)  # more than a tick of the filesystem's clock
    path.write_bytes(b"CONTENT")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (status.st_ino, status.st_mtime_ns)
    assert library.resolve(ref("clips/a.mp4")).sha256 != before.sha256


def test_a_file_written_a_moment_ago_is_not_remembered(root: Path, tmp_path: Path) -> None:
    """It may change once more within one tick of the clock, with the same size."""
    library = MediaLibrary(root, Ledger(tmp_path / "ledger"))
    path = root / "clips" / "new.mp4"
    write(path, b"one", age_s=0.0)
    status = path.stat()
    before = library.resolve(ref("clips/new.mp4"))
    path.write_bytes(b"two")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert path.stat().st_ino == status.st_ino
    assert library.resolve(ref("clips/new.mp4")).sha256 != before.sha256
