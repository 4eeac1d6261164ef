"""Writes files of measurements: their names, and the circumstances that each records."""

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from encodeonce.harness.bench.machine import hardware, versions
from encodeonce.harness.bench.scene import SceneSpec

_ABSOLUTE_FOLDER = re.compile(r"(^|[=:,\s{\[])[~/][^\s,}\]]*/")


def result_path(output: Path, measured: str, when: datetime) -> Path:
    """Return the file to write, checked before hours are spent on measuring.

    Args:
        output: the file, or a folder that gets one by date, what was measured, and hardware.
        measured: e.g. ``"kv longva-7b"``.
        when: when the measurement began.

    Raises:
        ValueError: there is no folder to write to.
    """
    path = output / file_name(measured, when) if output.is_dir() else output
    if not path.parent.is_dir():
        raise ValueError(f"--output {output}: there is no folder {path.parent}")
    return path


def file_name(measured: str, when: datetime) -> str:
    """Return a name by date, e.g. ``2026-11-21-kv-longva-7b-nvidia-h200.json``."""
    words = f"{when:%Y-%m-%d} {measured} {hardware()['device']}"
    return re.sub(r"[^a-z0-9.]+", "-", words.lower()).strip("-") + ".json"


def result_json(
    measurements: Mapping[str, Any], *, when: datetime, command: Sequence[str]
) -> dict[str, Any]:
    """Return a file's content: the measurements and the circumstances they were made in."""
    return {
        "date": when.isoformat(timespec="seconds"),
        "command": command_line(command),
        "hardware": hardware(),
        "versions": versions(),
        **measurements,
    }


def write_result(path: Path, content: Mapping[str, Any]) -> None:
    """Write a file of measurements."""
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def command_line(words: Sequence[str]) -> str:
    """Return a command to paste into a shell, without this machine's folders.

    >>> command_line(["encodeonce", "bench", "kv", "--model", "/data/models/longva-7b"])
    'encodeonce bench kv --model longva-7b'
    """
    return shlex.join(_ABSOLUTE_FOLDER.sub(r"\1", word) for word in words)


def describe_scene(scene: SceneSpec) -> dict[str, Any]:
    """Return the model and the media item that it saw, as plain JSON values."""
    return {
        "model": {**scene.model.model_dump(mode="json"), "path": scene.model_name},
        "vision": scene.vision.model_dump(mode="json"),
        "media": {"kind": scene.kind, "name": scene.media.name},
        "frames": scene.frames.model_dump(mode="json"),
    }
