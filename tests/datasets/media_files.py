"""Media files made while a test runs. Every video frame carries its number as a barcode."""

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from encodeonce.datasets.media import Media

NUM_BITS = 8
HEIGHT, WIDTH = 64, 128
RATE = 30


def barcode(number: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return an image whose columns are the bits of ``number``; its upper corner is dark red."""
    bits = [235 if number >> bit & 1 else 16 for bit in range(NUM_BITS)]
    image = np.repeat(np.array(bits, np.uint8), WIDTH // NUM_BITS)[None, :, None]
    image = np.broadcast_to(image, (HEIGHT, WIDTH, 3)).copy()
    image[:16] = (90, 10, 10)
    return image


def frame_number(pixels_HWC: np.ndarray[Any, np.dtype[np.uint8]]) -> int:
    """Read the barcode of an upright frame."""
    row = pixels_HWC[HEIGHT // 2 :].mean(axis=(0, 2)).reshape(NUM_BITS, -1).mean(axis=1)
    return sum(1 << bit for bit, value in enumerate(row) if value > 128)


def write_video(
    path: Path,
    *,
    codec: str = "libx264",
    num_frames: int = 60,
    pixel_format: str = "yuv420p",
    options: Mapping[str, str] = {},
    container_options: Mapping[str, str] = {},
    pts: Sequence[int] | None = None,
    rotation: int = 0,
    max_b_frames: int | None = None,
    first_number: int = 0,
) -> Path:
    """Write a video; ``pts`` are in units of 1 / RATE seconds."""
    if codec not in av.codecs_available:
        pytest.skip(f"this PyAV has no encoder {codec}")
    with av.open(str(path), "w", options=dict(container_options)) as container:
        stream = container.add_stream(codec, rate=RATE, options=dict(options))
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, pixel_format
        stream.gop_size = 15
        stream.codec_context.thread_count = 1
        if max_b_frames is not None:
            stream.codec_context.max_b_frames = max_b_frames
        if rotation:
            stream.set_display_rotation(rotation)
        for position in range(num_frames):
            image = np.rot90(barcode(first_number + position), k=2 if rotation == 180 else 0)
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            frame.pts = position if pts is None else pts[position]
            frame.time_base = Fraction(1, RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def remux(source: Path, target: Path, *, start_s: float = 0.0, **options: str) -> Path:
    """Copy packets into another container, from the keyframe before ``start_s`` on.

    The clock of the copy starts at ``start_s``, so an mp4 gets an edit list that discards what
    lies before, as from ``ffmpeg -ss … -c copy``.
    """
    with av.open(str(source)) as read, av.open(str(target), "w", options=options) as write:
        stream = read.streams.video[0]
        copy = write.add_stream_from_template(stream)
        offset = int(start_s / stream.time_base)
        read.seek(offset, stream=stream)
        for packet in read.demux(stream):
            if packet.dts is not None:
                packet.pts, packet.dts = packet.pts - offset, packet.dts - offset
                packet.stream = copy
                write.mux(packet)
    return target


def write_audio(path: Path) -> Path:
    """Write an mp4 that holds sound and no picture."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.float32), "fltp", "mono")
        frame.sample_rate, frame.pts = 16000, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def write_music_with_cover(path: Path) -> Path:
    """Write an mp4 of sound whose only picture is its cover."""
    with av.open(str(path), "w") as container:
        sound = container.add_stream("aac", rate=16000, layout="mono")
        cover = container.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = WIDTH, HEIGHT, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        picture = av.VideoFrame.from_ndarray(barcode(1), format="rgb24")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.float32), "fltp", "mono")
        frame.sample_rate, frame.pts = 16000, 0
        for packet in (*cover.encode(picture), *cover.encode(None)):
            container.mux(packet)
        for packet in (*sound.encode(frame), *sound.encode(None)):
            container.mux(packet)
    return path


OPEN_GOP = {"x264-params": "open-gop=1:b-pyramid=normal:bframes=3:scenecut=0"}


def _open_gop(folder: Path) -> Path:
    return write_video(folder / "open_source.mp4", options=OPEN_GOP, num_frames=120)


def _closed_gop(folder: Path) -> Path:
    return write_video(folder / "closed_source.mp4")


VIDEOS: Mapping[str, tuple[str, int, Callable[[Path], Path]]] = {
    # name: backend that `auto` must choose, number of the first frame, how to write it
    "closed_gop.mp4": ("decord", 0, lambda path: write_video(path)),
    "variable_rate.mp4": (
        "decord",
        0,
        lambda path: write_video(path, pts=[i + i // 3 + 4 * (i // 10) for i in range(60)]),
    ),
    "hevc.mp4": (
        "decord",
        0,
        lambda path: write_video(
            path, codec="libx265", options={"x265-params": "log-level=none:open-gop=0:pools=1"}
        ),
    ),
    "vp9_hidden_frames.webm": (
        "decord",
        0,
        lambda path: write_video(
            path,
            codec="libvpx-vp9",
            options={"cpu-used": "8", "auto-alt-ref": "1", "lag-in-frames": "12"},
        ),
    ),
    "faststart.mp4": (
        "decord",
        0,
        lambda path: write_video(path, container_options={"movflags": "faststart"}),
    ),
    "fragmented.mp4": (
        "decord",
        0,
        lambda path: write_video(path, container_options={"movflags": "frag_keyframe+empty_moov"}),
    ),
    "matroska.mkv": ("decord", 0, lambda path: write_video(path)),
    "motion_jpeg.mov": (
        "decord",
        0,
        lambda path: write_video(path, codec="mjpeg", pixel_format="yuvj420p"),
    ),
    "mpeg4.mp4": ("decord", 0, lambda path: write_video(path, codec="mpeg4", max_b_frames=0)),
    "mpeg4_open_gop.mp4": (
        "pyav",
        0,
        lambda path: write_video(path, codec="mpeg4", max_b_frames=2),
    ),
    "upside_down.mp4": ("decord", 0, lambda path: write_video(path, rotation=180)),
    "one_frame.mp4": ("decord", 0, lambda path: write_video(path, num_frames=1)),
    "open_gop.mp4": (
        "pyav",
        0,
        lambda path: write_video(path, options=OPEN_GOP, num_frames=120),
    ),
    "open_gop_hevc.mp4": (
        "pyav",
        0,
        lambda path: write_video(
            path, codec="libx265", options={"x265-params": "log-level=none:open-gop=1:pools=1"}
        ),
    ),
    "ten_bit.mp4": ("pyav", 0, lambda path: write_video(path, pixel_format="yuv420p10le")),
    "av1.mp4": (
        "pyav",
        0,
        lambda path: write_video(path, codec="libsvtav1", options={"preset": "8", "crf": "20"}),
    ),
    "transport_stream.ts": ("pyav", 0, lambda path: write_video(path)),
    "without_times.avi": ("pyav", 0, lambda path: write_video(path)),
    "mpeg4_with_b_frames.avi": (
        "pyav",
        0,
        lambda path: write_video(path, codec="mpeg4", max_b_frames=2),
    ),
    "edit_list.mp4": ("pyav", 27, lambda path: remux(_closed_gop(path.parent), path, start_s=0.9)),
    "edit_list_open_gop.mp4": (
        "pyav",
        30,
        lambda path: remux(_open_gop(path.parent), path, start_s=1.0),
    ),
    "cut_within_open_gop.mkv": (
        "pyav",
        30,
        lambda path: remux(
            _open_gop(path.parent), path, start_s=1.0, avoid_negative_ts="make_zero"
        ),
    ),
}


def as_media(path: Path, kind: str = "video") -> Media:
    """Return a `Media` whose digest is the file's name: nothing here is remembered."""
    return Media(kind="image" if kind == "image" else "video", uri=str(path), sha256=path.name)
