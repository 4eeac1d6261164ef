"""The report of ``encodeonce bench video``, in the terminal and as JSON."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from encodeonce.harness.bench.cells import ABSENT
from encodeonce.harness.bench.video.measure import VideoCell, VideoResult
from encodeonce.harness.report.section import Section, Table


def sections(result: VideoResult) -> list[Section]:
    """Return the report of a measurement."""
    missing = [name for name, version in result.readers.items() if version is None]
    versions = [f"{name}: {version}" for name, version in result.readers.items() if version]
    return [
        Section(
            title="Readers of videos",
            table=Table(
                columns=("video", "reader", "frames", "wrong", "frames/s", "in a run"),
                rows=tuple(map(_row, result.cells)),
                num_words=3,
            ),
            sentences=(
                "Frames a second are by the median of all runs, opening the file included, after "
                "one run that is not counted.",
                _how_wrong(result),
                *([f"Not installed: {', '.join(missing)}."] if missing else []),
            ),
            bullets=(*versions, *_reasons(result)),
        )
    ]


def to_json(result: VideoResult) -> dict[str, Any]:
    """Return everything measured, as plain JSON values."""
    bench = {**asdict(result.bench), "videos": [path.name for path in result.bench.videos]}
    del bench["folder"]
    cells = [{**asdict(cell), "frames_per_s": cell.frames_per_s} for cell in result.cells]
    return {"bench": bench, "readers": dict(result.readers), "cells": cells}


def _row(cell: VideoCell) -> tuple[str, ...]:
    rate = cell.frames_per_s
    return (
        cell.video,
        cell.reader,
        cell.pattern,
        ABSENT if cell.num_wrong is None else f"{cell.num_wrong} of {cell.num_frames}",
        ABSENT if rate is None else f"{rate:,.0f}",
        "refused" if cell.refusal else "exact",
    )


def _how_wrong(result: VideoResult) -> str:
    if result.bench.videos:
        return "A frame is wrong if it is not PyAV's, up to rounding."
    return "Frames carry their numbers: one with another number than asked for is wrong."


def _reasons(result: VideoResult) -> Iterator[str]:
    told = set()
    for cell in result.cells:
        for reason in (cell.refusal, cell.error):
            line = f"{cell.reader} on {cell.video}: {reason}"
            if reason is not None and line not in told:
                told.add(line)
                yield line
