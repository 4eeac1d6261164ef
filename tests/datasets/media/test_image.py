"""Images: upright, RGB, the first frame, and typed errors."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from encodeonce.datasets.media.backends import pillow
from encodeonce.datasets.media.decode import decode
from encodeonce.datasets.media.in_memory import picture_of
from encodeonce.datasets.media.ledger import Ledger
from encodeonce.datasets.media.media import UndecodableMedia
from encodeonce.datasets.media.probe import probe
from tests.fixtures.media_files import as_media, write_video

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 10, 3), dtype=np.uint8)

# What a viewer shows for each EXIF orientation (Exif 2.32, tag 0x0112).
UPRIGHT = {
    1: PIXELS,
    2: PIXELS[:, ::-1],
    3: PIXELS[::-1, ::-1],
    4: PIXELS[::-1],
    5: PIXELS.transpose(1, 0, 2),
    6: np.rot90(PIXELS, k=-1),
    7: np.rot90(PIXELS, k=2).transpose(1, 0, 2),
    8: np.rot90(PIXELS, k=1),
}


@pytest.mark.parametrize("suffix", ["png", "tiff", "webp"])
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_exif_orientation_is_applied(
    orientation: int, suffix: str, tmp_path: Path, ledger: Ledger
) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    Image.fromarray(PIXELS).save(tmp_path / f"a.{suffix}", exif=exif, lossless=True)
    media = as_media(tmp_path / f"a.{suffix}", "image")
    info = probe(media, ledger=ledger)
    frames = decode(media, info, (0,))
    np.testing.assert_array_equal(frames.pixels_THWC[0], UPRIGHT[orientation])
    assert (info.height, info.width) == frames.pixels_THWC.shape[1:3]
    assert (frames.timestamps_s, info.num_frames) == ((0.0,), 1)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "LA", "CMYK", "1"])
def test_every_8_bit_mode_becomes_rgb(mode: str, tmp_path: Path, ledger: Ledger) -> None:
    path = tmp_path / "a.tiff"
    Image.fromarray(PIXELS).convert(mode).save(path)
    media = as_media(path, "image")
    frames = decode(media, probe(media, ledger=ledger), (0,))
    assert frames.pixels_THWC.shape == (1, 6, 10, 3)
    assert frames.pixels_THWC.dtype == np.uint8


def test_of_an_animation_the_first_frame_is_read(tmp_path: Path, ledger: Ledger) -> None:
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "blue", "green")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    media = as_media(tmp_path / "a.gif", "image")
    info = probe(media, ledger=ledger)
    assert info.num_frames == 1
    assert tuple(decode(media, info, (0,)).pixels_THWC[0, 0, 0]) == (255, 0, 0)


def test_the_decoder_of_a_lossy_format_names_its_library(tmp_path: Path, ledger: Ledger) -> None:
    decoders = {}
    for suffix in ("png", "jpg"):
        Image.fromarray(PIXELS).save(tmp_path / f"a.{suffix}")
        info = probe(as_media(tmp_path / f"a.{suffix}", "image"), ledger=ledger)
        decoders[suffix] = info.decoder
    assert decoders["jpg"].startswith(f"{decoders['png']}, libjpeg")


def test_a_truncated_image_is_undecodable(tmp_path: Path, ledger: Ledger) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    for suffix in ("jpeg", "png", "webp"):
        buffer = io.BytesIO()
        Image.fromarray(noise).save(buffer, suffix)
        path = tmp_path / f"cut.{suffix}"
        path.write_bytes(buffer.getvalue()[: len(buffer.getvalue()) * 6 // 10])
        media = as_media(path, "image")
        with pytest.raises(UndecodableMedia, match=f"cut.{suffix}"):
            decode(media, probe(media, ledger=ledger), (0,))


def test_what_is_no_image_is_undecodable(tmp_path: Path, ledger: Ledger) -> None:
    (tmp_path / "text.png").write_text("hello")
    (tmp_path / "empty.png").write_bytes(b"")
    video = write_video(tmp_path / "video.mp4", num_frames=2)
    for path in (tmp_path / "text.png", tmp_path / "empty.png", video):
        with pytest.raises(UndecodableMedia, match=path.name):
            probe(as_media(path, "image"), ledger=ledger)


def test_an_image_called_a_video_is_undecodable(tmp_path: Path, ledger: Ledger) -> None:
    Image.fromarray(PIXELS).save(tmp_path / "a.png")
    with pytest.raises(UndecodableMedia, match=r"a\.png"):
        probe(as_media(tmp_path / "a.png", "video"), ledger=ledger)


def test_sixteen_bits_are_refused_rather_than_clipped(tmp_path: Path, ledger: Ledger) -> None:
    Image.fromarray(np.full((4, 4), 40000, np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(UndecodableMedia, match="8 bits"):
        probe(as_media(tmp_path / "deep.png", "image"), ledger=ledger)


def transparent(mode: str) -> Image.Image:
    """Return a picture whose left half is transparent black and whose right half is opaque red."""
    pixels = np.zeros((4, 8, 4), np.uint8)
    pixels[:, 4:] = (255, 0, 0, 255)
    image = Image.fromarray(pixels)
    if mode == "RGB":  # one colour stands for transparency
        image = image.convert("RGB")
        image.info["transparency"] = (0, 0, 0)
    elif mode == "P":
        image = image.convert("RGB").quantize(2)
        image.info["transparency"] = image.getpixel((0, 0))
    elif mode == "L":
        image = image.convert("L")
        image.info["transparency"] = 0
    return image.convert(mode) if mode == "LA" else image


@pytest.mark.parametrize(
    ("mode", "suffix"),
    [
        ("RGBA", "png"),
        ("LA", "png"),
        ("P", "png"),
        ("L", "png"),
        ("RGB", "png"),
        ("RGBA", "webp"),
        ("RGBA", "tiff"),
        ("P", "gif"),
    ],
)
def test_transparency_shows_white(mode: str, suffix: str, tmp_path: Path, ledger: Ledger) -> None:
    path = tmp_path / f"a.{suffix}"
    image = transparent(mode)
    kept = {"transparency": image.info["transparency"]} if "transparency" in image.info else {}
    image.save(path, lossless=True, **kept)
    media = as_media(path, "image")
    info = probe(media, ledger=ledger)
    (pixels_HWC,) = decode(media, info, (0,)).pixels_THWC
    assert (pixels_HWC[:, :4] == 255).all()
    red = (76, 76, 76) if mode in ("L", "LA") else (255, 0, 0)
    assert (pixels_HWC[:, 4:] == red).all()
    # What was stored for it when transparency was dropped is not found any more.
    assert info.decoder.endswith(", on white")
    np.testing.assert_array_equal(picture_of(image).frames.pixels_THWC[0], pixels_HWC)


def test_half_transparent_pixels_are_blended(tmp_path: Path, ledger: Ledger) -> None:
    Image.new("RGBA", (2, 2), (0, 100, 200, 51)).save(tmp_path / "a.png")
    media = as_media(tmp_path / "a.png", "image")
    (pixels_HWC,) = decode(media, probe(media, ledger=ledger), (0,)).pixels_THWC
    assert tuple(pixels_HWC[0, 0]) == (204, 224, 244)  # 0.2 of the colour, 0.8 of white


def test_opaque_pictures_keep_their_pixels_and_their_identity(
    tmp_path: Path, ledger: Ledger
) -> None:
    for mode in ("RGB", "L", "P", "1", "CMYK"):
        image = Image.fromarray(PIXELS).convert(mode)
        image.save(tmp_path / f"{mode}.tiff")
        media = as_media(tmp_path / f"{mode}.tiff", "image")
        info = probe(media, ledger=ledger)
        assert info.decoder == pillow.identity("TIFF")
        (pixels_HWC,) = decode(media, info, (0,)).pixels_THWC
        np.testing.assert_array_equal(pixels_HWC, np.asarray(image.convert("RGB")))
    image = Image.fromarray(PIXELS)
    image.putalpha(255)
    image.save(tmp_path / "opaque.png")
    np.testing.assert_array_equal(picture_of(image).frames.pixels_THWC[0], PIXELS)


@pytest.mark.parametrize("value", [0, 9, 77, 65535])
def test_an_orientation_that_does_not_exist_turns_nothing(
    value: int, tmp_path: Path, ledger: Ledger
) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = value
    Image.fromarray(PIXELS).save(tmp_path / "a.png", exif=exif)
    media = as_media(tmp_path / "a.png", "image")
    info = probe(media, ledger=ledger)
    assert (info.height, info.width) == PIXELS.shape[:2]
    np.testing.assert_array_equal(decode(media, info, (0,)).pixels_THWC[0], PIXELS)
