"""The media that tasks show, in all of lmms-eval's forms."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from encodeonce.harness.bridges.lmms_eval.generation import UnsupportedRequest
from encodeonce.harness.bridges.lmms_eval.images import media_of, shown_by
from encodeonce.harness.bridges.requests import MediaFile

PICTURE = Image.new("RGB", (4, 4))
VIDEO = MediaFile(kind="video", path=Path("/data/a.mp4"))
TEXT = {"type": "text", "text": "What?"}


def user(*content: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "content": list(content)}]


@pytest.mark.parametrize(
    ("visual", "media"),
    [
        ("/data/a.mp4", VIDEO),
        ("/data/A.JPG", MediaFile(kind="image", path=Path("/data/A.JPG"))),
        (Path("/data/a.mp4"), VIDEO),
        (PICTURE, PICTURE),
        ({"url": "/data/a.mp4", "type": "video"}, VIDEO),
        ({"path": "/data/a", "type": "image"}, MediaFile(kind="image", path=Path("/data/a"))),
        (
            {"path": "/data/a.mp4", "video_start": 1, "video_end": 2.5},
            MediaFile(kind="video", path=Path("/data/a.mp4"), clip_s=(1.0, 2.5)),
        ),
        (
            {"path": "/data/a.mp4", "video_start": 3},
            MediaFile(kind="video", path=Path("/data/a.mp4"), clip_s=(3.0, math.inf)),
        ),
    ],
)
def test_visuals_are_files_or_pictures(visual: Any, media: Any) -> None:
    assert media_of(visual) == media


@pytest.mark.parametrize(
    ("visual", "words"),
    [
        ("https://example.org/a.mp4", "is a URL.*Download"),
        ("/data/a.wav", "is an audio file"),
        (np.zeros((4, 4, 3)), "type ndarray"),
        ([PICTURE], "type list"),
        (None, "type NoneType"),
        ({"bytes": b"", "path": "a.png"}, "mapping of bytes, path"),
        ({"type": "video"}, "mapping of type"),
        ({"path": "a.png", "video_start": 1}, "picture has no start"),
    ],
)
def test_what_cannot_be_shown_is_refused(visual: Any, words: str) -> None:
    with pytest.raises(UnsupportedRequest, match=words):
        media_of(visual)


def test_a_message_is_its_media_and_then_its_text() -> None:
    shown = shown_by(
        user({"type": "video", "url": "/data/a.mp4"}, {"type": "image", "url": PICTURE}, TEXT)
    )
    assert shown == ((VIDEO, PICTURE), "What?")
    assert shown_by(user(TEXT, TEXT)) == ((), "What?What?")
    assert shown_by([{"role": "user", "content": "What?"}]) == ((), "What?")


def test_what_a_message_calls_its_media_they_are() -> None:
    shown = shown_by(user({"type": "image", "url": "/data/no-suffix"}, TEXT))
    assert shown.media == (MediaFile(kind="image", path=Path("/data/no-suffix")),)


def test_a_clip_of_a_message_is_the_files() -> None:
    part = {"type": "video", "url": "/data/a.mp4", "start_time": 1.0, "end_time": None}
    (media,) = shown_by(user(part, TEXT)).media
    assert media == MediaFile(kind="video", path=Path("/data/a.mp4"), clip_s=(1.0, math.inf))


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        (user(TEXT, {"type": "image", "url": PICTURE}, TEXT), "text, image, text.*--force_simple"),
        ([{"role": "system", "content": "Be brief."}, *user(TEXT)], "by system, user"),
        ([*user(TEXT), {"role": "assistant", "content": "Yes"}, *user(TEXT)], "by user, assistant"),
        (user({"type": "audio", "url": "/data/a"}, TEXT), "is an audio file"),
        (user({"type": "image_url", "url": "/data/a"}, TEXT), "of kind 'image_url'"),
    ],
)
def test_what_a_single_prompt_cannot_say_is_refused(messages: Any, words: str) -> None:
    with pytest.raises(UnsupportedRequest, match=words):
        shown_by(messages)
