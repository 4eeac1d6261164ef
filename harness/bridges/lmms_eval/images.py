"""Reads what lmms-eval's tasks show: paths, Pillow images, and messages that hold them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from encodeonce.harness.bridges.lmms_eval.generation import UnsupportedRequest
from encodeonce.harness.bridges.requests import MediaFile

_PICTURES = frozenset((".avif", ".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"))
_SOUNDS = frozenset((".aac", ".flac", ".m4a", ".mp3", ".ogg", ".opus", ".wav"))
_PATH_KEYS = ("url", "path", "video", "image")
_START_KEYS, _END_KEYS = ("start_time", "video_start"), ("end_time", "video_end")


class Shown(NamedTuple):
    """A prompt's media, and its text."""

    media: tuple[MediaFile | Image.Image, ...]
    text: str


def media_of(visual: Any, kind: str | None = None) -> MediaFile | Image.Image:
    """Return one visual of a task.

    Args:
        visual: a path, a Pillow image, or a mapping with a path and a clip in seconds.
        kind: the kind that the task states; else the suffix decides, pictures aside all is video.

    Raises:
        UnsupportedRequest: it is audio, a URL, or of an unknown type.
    """
    if kind not in (None, "image", "video", "audio"):
        raise UnsupportedRequest(f"a visual is of kind {kind!r}; encodeonce takes image and video")
    if isinstance(visual, Image.Image):
        return visual
    if isinstance(visual, Mapping):
        return _with_clip(visual, kind)
    if not isinstance(visual, (str, Path)):
        raise UnsupportedRequest(
            f"a visual is of type {type(visual).__name__}; encodeonce takes paths, Pillow images, "
            "and mappings with a path"
        )
    if "://" in str(visual):
        raise UnsupportedRequest(f"{visual} is a URL; encodeonce reads files. Download it first.")
    path = Path(visual)
    if kind == "audio" or path.suffix.lower() in _SOUNDS:
        raise UnsupportedRequest(f"{visual} is an audio file; encodeonce takes pictures and videos")
    is_picture = kind == "image" or (kind is None and path.suffix.lower() in _PICTURES)
    return MediaFile(kind="image" if is_picture else "video", path=path)


def shown_by(messages: Sequence[Mapping[str, Any]]) -> Shown:
    """Return the prompt of a one-message conversation: media first, then text.

    Raises:
        UnsupportedRequest: it has other messages, or text between the media.
    """
    roles = [message["role"] for message in messages]
    if roles != ["user"]:
        raise UnsupportedRequest(
            f"its messages are by {', '.join(roles)}; encodeonce sends one user message, with the "
            "system prompt of the model's chat template. Type --force_simple to use doc_to_text."
        )
    content = messages[0]["content"]
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else list(content)
    texts = [part["text"] for part in parts if part["type"] == "text"]
    media = [media_of(_of(part), part["type"]) for part in parts if part["type"] != "text"]
    first_text = next((n for n, part in enumerate(parts) if part["type"] == "text"), len(parts))
    if first_text != len(media):
        order = ", ".join(part["type"] for part in parts)
        raise UnsupportedRequest(
            f"its message mixes text and media ({order}); encodeonce puts media first, so that "
            "questions on them share a prefix. Type --force_simple to use doc_to_text."
        )
    return Shown(media=tuple(media), text="".join(texts))


def _of(part: Mapping[str, Any]) -> Any:
    """Return the visual in a message part, with the part's clip if it has one."""
    visual = _first(part, _PATH_KEYS)
    has_clip = _first(part, (*_START_KEYS, *_END_KEYS)) is not None
    return {**part, "path": visual} if has_clip else visual


def _with_clip(visual: Mapping[str, Any], kind: str | None) -> MediaFile | Image.Image:
    known = {"type", *_PATH_KEYS, *_START_KEYS, *_END_KEYS}
    inner = _first(visual, _PATH_KEYS)
    if inner is None or not visual.keys() <= known:
        raise UnsupportedRequest(
            f"a visual is a mapping of {', '.join(visual)}; encodeonce takes {', '.join(known)}"
        )
    media = media_of(inner, visual.get("type", kind))
    start_s, end_s = _first(visual, _START_KEYS), _first(visual, _END_KEYS)
    if start_s is None and end_s is None:
        return media
    if isinstance(media, Image.Image) or media.kind == "image":
        raise UnsupportedRequest("a picture has no start and end")
    return replace(media, clip_s=(float(start_s or 0.0), float(end_s or math.inf)))


def _first(content: Mapping[str, Any], keys: Sequence[str]) -> Any:
    return next((content[key] for key in keys if content.get(key) is not None), None)
