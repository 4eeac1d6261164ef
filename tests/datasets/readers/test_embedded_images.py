"""Images from tables: complete files, each written once, named by content."""

import base64
import threading
from pathlib import Path

import pytest

from encodeonce.datasets.readers.embedded_images import save_image
from tests.datasets.benchmarks.image_layouts import BLUE, RED, encoded


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
    with pytest.raises(ValueError, match="is not the base64 of an image"):
        save_image(text, tmp_path)
    assert list(tmp_path.iterdir()) == []
