"""What samples are about: frames as the model saw them, and the clips themselves."""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from encodeonce.datasets.media.media import MediaError, MediaRef
from encodeonce.harness.report.thumbnails import Album, SampleKey, Strip, find_samples
from encodeonce.harness.run.stored import questions_of
from encodeonce.harness.viewer.answers import Answers, Row

HEIGHT_PX = 160
MOST_FRAMES = 16
CLIP_TYPES = {".mp4": "video/mp4", ".m4v": "video/mp4", ".webm": "video/webm"}
"""Kinds of clips that a browser plays."""

_Item = tuple[int, Path, tuple[MediaRef, ...]]
"""The run by whose settings frames are chosen, and the media."""


class Media:
    """Finds and decodes the media of samples, once each, when a reader asks for them.

    Several threads may ask; one decodes at a time.
    """

    def __init__(self, answers: Answers) -> None:
        """Take the answers; nothing is read before it is asked for."""
        self._sides = answers.sides
        self._rows = answers.rows
        self._lock = threading.Lock()
        self._found: dict[SampleKey, _Item] | None = None
        self._albums: dict[int, Album] = {}
        self._numbers: dict[_Item, int] = {}
        self._items: list[_Item] = []
        self._problem = ""

    def numbers(self, rows: Sequence[Row]) -> dict[str, Any]:
        """Return the number of each sample's media, and why some are not known."""
        with self._lock:
            found = self._samples()
            items = (found.get((row.asked.benchmark, row.asked.sample)) for row in rows)
            numbers = [None if item is None else self._number(item) for item in items]
        missing = self._problem or "the benchmark no longer has this sample"
        return {"numbers": numbers, "missing": missing}

    @property
    def num_known(self) -> int:
        """How many media have a number so far."""
        with self._lock:
            return len(self._items)

    def frames(self, number: int) -> dict[str, Any]:
        """Return the frames of some media; raises `IndexError` where there are none so numbered."""
        with self._lock:
            side, root, refs = self._items[number]
            strip = self._album(side).strip(root, refs)
        return _frames(strip)

    def clip(self, number: int) -> Path | None:
        """Return the clip that some media are, if a browser can play it."""
        with self._lock:
            if not 0 <= number < len(self._items):
                return None
            side, root, refs = self._items[number]
            if len(refs) != 1 or Path(refs[0].path).suffix.lower() not in CLIP_TYPES:
                return None
            try:
                return self._album(side).file(root, refs[0])
            except (MediaError, OSError):
                return None

    def _samples(self) -> dict[SampleKey, _Item]:
        """Return the samples' media, from the benchmarks of the first run that can read them."""
        if self._found is None:
            self._found = {}
            keys = [(row.asked.benchmark, row.asked.sample) for row in self._rows]
            for number, side in enumerate(self._sides):
                wanted = [key for key in keys if key not in self._found]
                try:
                    found = find_samples(questions_of(side.run["config"]), wanted)
                except (ValueError, OSError) as error:
                    self._problem = f"the benchmark cannot be read here: {error}"
                    continue
                for key, (root, refs, _) in found.items():
                    self._found[key] = (number, root, refs)
        return self._found

    def _number(self, item: _Item) -> int:
        if item not in self._numbers:
            self._numbers[item] = len(self._items)
            self._items.append(item)
        return self._numbers[item]

    def _album(self, number: int) -> Album:
        if number not in self._albums:
            side = self._sides[number]
            self._albums[number] = Album(
                questions_of(side.run["config"]),
                side.media_sha256,
                height_px=HEIGHT_PX,
                most_frames=MOST_FRAMES,
            )
        return self._albums[number]


def _frames(strip: Strip) -> dict[str, Any]:
    return {
        "missing": strip.missing,
        "numSeen": strip.num_seen,
        "frames": [
            {
                "jpeg": frame.jpeg_base64,
                "width": frame.width_px,
                "height": frame.height_px,
                "caption": frame.caption,
            }
            for frame in strip.frames
        ],
    }
