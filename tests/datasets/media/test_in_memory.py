"""Pictures without a file: their digests, and pixels equal to a file's."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from encodeonce.datasets.media.decode import decode
from encodeonce.datasets.media.in_memory import picture_of
from encodeonce.datasets.media.ledger import Ledger
from encodeonce.datasets.media.media import MediaError, UndecodableMedia
from encodeonce.datasets.media.probe import probe
from tests.fixtures.media_files import as_media

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 10, 3), dtype=np.uint8)


def digest(pixels: np.ndarray) -> str:
    return picture_of(Image.fromarray(pixels)).media.sha256


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "LA", "CMYK", "1"])
def test_its_pixels_are_those_of_the_same_picture_in_a_file(
    mode: str, tmp_path: Path, ledger: Ledger
) -> None:
    image = Image.fromarray(PIXELS).convert(mode)
    image.save(tmp_path / "a.tiff")
    media = as_media(tmp_path / "a.tiff", "image")
    info = probe(media, ledger=ledger)
    picture = picture_of(image)
    np.testing.assert_array_equal(picture.frames.pixels_THWC, decode(media, info, (0,)).pixels_THWC)
    assert (picture.info.width, picture.info.height) == (info.width, info.height) == (10, 6)
    assert picture.info.num_frames == 1


def test_equal_pixels_are_one_media_and_a_changed_one_or_another_shape_is_another() -> None:
    changed = PIXELS.copy()
    changed[3, 4, 1] ^= 1
    assert digest(PIXELS) == digest(PIXELS.copy())
    assert len({digest(PIXELS), digest(changed), digest(PIXELS.reshape(10, 6, 3))}) == 3


def test_where_the_pixels_came_from_does_not_matter(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.fromarray(PIXELS).save(buffer, "png")
    with Image.open(buffer) as lazily_read:
        assert picture_of(lazily_read).media.sha256 == digest(PIXELS)


def test_a_file_of_these_bytes_is_never_taken_for_the_picture(
    tmp_path: Path, ledger: Ledger
) -> None:
    Image.fromarray(PIXELS).save(tmp_path / "a.png")
    media = as_media(tmp_path / "a.png", "image")
    picture = picture_of(Image.fromarray(PIXELS))
    assert picture.media.sha256 != media.sha256
    assert picture.info.decoder != probe(media, ledger=ledger).decoder


def test_an_orientation_in_the_metadata_is_left_to_whoever_opened_the_file() -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    buffer = io.BytesIO()
    Image.fromarray(PIXELS).save(buffer, "png", exif=exif)
    with Image.open(buffer) as image:
        assert picture_of(image).media.sha256 == digest(PIXELS)


def test_what_has_no_agreed_conversion_or_does_not_decode_is_refused() -> None:
    with pytest.raises(UndecodableMedia, match="mode F"):
        picture_of(Image.new("F", (4, 4)))
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "png")
    with Image.open(io.BytesIO(buffer.getvalue()[:2000])) as cut:
        pytest.raises(UndecodableMedia, picture_of, cut)
    with pytest.raises(MediaError, match="0 x 3"):
        picture_of(Image.new("RGB", (0, 3)))
