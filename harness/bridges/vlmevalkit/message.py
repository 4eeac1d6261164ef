"""Reads VLMEvalKit's messages: sequences of pictures, videos and texts."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from encodeonce.datasets.media.media import MediaRef
from encodeonce.harness.run.plan import PlannedMedia

READS_CLIPS = "clips"
"""``VIDEO_LLM`` of our models. The kit only tests its truth; our benchmarks tell from it that the
model keeps to the part of a video that a sample is about."""

PLANNED = "planned"
"""Key of a `PlannedMedia` in messages of our own benchmarks, beside the file's path."""


class MediaQuestion(NamedTuple):
    """A message in the form that our models take: media first, then the text."""

    media: tuple[PlannedMedia, ...]
    question: str


def read_message(message: Sequence[Mapping[str, Any]], dataset: str) -> MediaQuestion:
    """Return the media of a message in order, and its texts, joined by newlines.

    The kit's own models that do not interleave read messages the same way
    (``message_to_promptvideo``), roles included. Ours put media first, so that all questions on
    the same media begin alike.

    Args:
        message: ``{"type": "image" | "video" | "text", "value": path or text}`` each.
        dataset: the benchmark, by the kit's name.
    """
    media = tuple(_planned(part, dataset) for part in message if part["type"] != "text")
    texts = [part["value"] for part in message if part["type"] == "text"]
    return MediaQuestion(media=media, question="\n".join(text for text in texts if text.strip()))


def _planned(part: Mapping[str, Any], dataset: str) -> PlannedMedia:
    if PLANNED in part:
        planned: PlannedMedia = part[PLANNED]
        return planned
    # The kit names files anywhere, including links into a download cache.
    path = Path(part["value"]).resolve()
    ref = MediaRef(kind=part["type"], path=path.name)
    return PlannedMedia(root=path.parent, ref=ref, benchmark=dataset)
