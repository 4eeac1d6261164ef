"""Images from tables: complete files, each written once, named by content."""

import base64
import threading
from pathlib import Path

import pytest
from PIL import Image

from encodeonce.datasets.media.backends import pillow
from encodeonce.datasets.media.media import EmptyMedia, UndecodableMedia
from encodeonce.datasets.readers.embedded_images import save_image, save_image_bytes
from tests.datasets.benchmarks.image_layouts import BLUE, RED, encoded, png_of


def test_an_image_is_written_once_byte_for_byte(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    name = save_image(encoded(RED), folder)
    assert (folder / name).read_bytes() == base64.b64decode(encoded(RED))
    (folder / name).chmod(0o444)
    before = (folder / name).stat().st_mtime_ns
    assert save_image(encoded(RED), folder) == name
    assert save_image(f"data:image/png;base64,{encoded(RED)}\n", folder) == name
    assert (folder / name).stat().st_mtime_ns == before
    assert save_image(encoded(BLUE), folder) != name
    assert len(list(folder.iterdir())) == 2


def test_a_file_that_lost_its_bytes_is_written_again(tmp_path: Path) -> None:
    name = save_image(encoded(RED), tmp_path)
    (tmp_path / name).write_bytes(b"")
    save_image(encoded(RED), tmp_path)
    assert (tmp_path / name).read_bytes() == base64.b64decode(encoded(RED))


def test_several_writers_leave_one_file(tmp_path: Path) -> None:
    threads = [threading.Thread(target=save_image, args=(encoded(RED), tmp_path)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    "text", ["", "not base64!", encoded(RED)[:-3], base64.b64encode(b"no image").decode()]
)
def test_what_is_no_image_is_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is not base64|is not a readable image"):
        save_image(text, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("width", "height"), [(60000, 3400), (2**31 - 1, 2**31 - 1), (178_956_971, 1), (1, 2**30)]
)
@pytest.mark.parametrize("limit", [None, 10, Image.MAX_IMAGE_PIXELS])
def test_a_huge_picture_is_refused_by_its_header(
    width: int, height: int, limit: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Other libraries lift Pillow's limit for the whole process.
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    content = png_of(width, height)
    with pytest.raises(UndecodableMedia, match=r"too large: .* up to 178,956,970 pixels: make it"):
        save_image_bytes(content, tmp_path, "images")
    with pytest.raises(ValueError, match=r"the picture \('iVBORw0KGgo.*too large"):
        save_image(base64.b64encode(content).decode(), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_largest_picture_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pillow, "MOST_PIXELS", 64)
    save_image_bytes(png_of(8, 8), tmp_path, "images")
    with pytest.raises(UndecodableMedia, match="too large: 8 x 9 pixels"):
        save_image_bytes(png_of(8, 9), tmp_path, "images")


@pytest.mark.parametrize("cut", [9, 20, 30, 33])
def test_a_damaged_header_is_refused(cut: int, tmp_path: Path) -> None:
    with pytest.raises((UndecodableMedia, EmptyMedia), match="the picture"):
        save_image_bytes(png_of(8, 8)[:cut], tmp_path, "images")
