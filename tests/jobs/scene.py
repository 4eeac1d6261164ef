"""A whole run in miniature: a tiny model, clips, questions, a run file, and the command line."""

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from click.testing import Result
from typer.testing import CliRunner

from encodeonce.cache_store.hdf5 import Hdf5Store
from encodeonce.cache_store.signature import FeatureKey
from encodeonce.harness.run.jsonl import read_json_lines
from encodeonce.jobs.cli.app import app
from tests.fixtures.clips import write_clip
from tests.fixtures.tiny_models import write_tiny_llava

QUESTIONS = ("What is shown?", "What moves?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A folder with everything a run needs."""

    folder: Path

    @property
    def media_root(self) -> Path:
        return self.folder / "media"

    @property
    def output(self) -> Path:
        return self.folder / "out"

    def run_file(self, **changes: Any) -> Path:
        """Write a run file; keyword arguments replace its top-level keys."""
        content = {
            "model": {"path": str(self.folder / "model"), "dtype": "float32", "device": "cpu"},
            "benchmarks": [
                {
                    "name": "questions",
                    "options": {
                        "file": str(self.folder / "questions.jsonl"),
                        "media_root": str(self.media_root),
                    },
                }
            ],
            "frames": {"policy": "uniform_inclusive", "num_frames": 4},
            # Two clips are a block.
            "generation": {"max_new_tokens": 3, "max_batch": 4},
            "cache": {"path": str(self.folder / "cache")},
            "workers": {"executor": "local"},
            "output": str(self.output),
            **changes,
        }
        path = self.folder / "run.yaml"
        path.write_text(yaml.safe_dump(content), encoding="utf-8")
        return path

    def command(self, verb: str, *arguments: str, **changes: Any) -> list[str]:
        """Return the command line of a verb, with a fresh run file."""
        run_file = self.run_file(**changes)
        return [sys.executable, "-m", "encodeonce.jobs.cli.app", verb, str(run_file), *arguments]

    def execute(self, verb: str, *arguments: str, **changes: Any) -> Result:
        """Run a verb to its end: in this process, since importing torch takes seconds."""
        run_file = self.run_file(**changes)
        runner = CliRunner(env={"RAY_ADDRESS": "", "COLUMNS": "160"})
        return runner.invoke(app, [verb, str(run_file), *arguments])

    def lines(self, name: str) -> list[dict[str, Any]]:
        """Return the lines of a file of the output folder."""
        return self.lines_of(self.output, name)

    def lines_of(self, output: Path, name: str) -> list[dict[str, Any]]:
        """Return the lines of a file of another output folder."""
        return list(read_json_lines(output / f"{name}.jsonl"))

    def report(self) -> Mapping[str, Any]:
        content: Mapping[str, Any] = json.loads((self.output / "report.json").read_text())
        return content

    def stored_keys(self) -> set[FeatureKey]:
        return set(Hdf5Store(self.folder / "cache" / "features").keys())


def environment() -> dict[str, str]:
    """Return this process's environment without variables that point to a network or cluster."""
    kept = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    return {**kept, "HF_HUB_OFFLINE": "1", "COLUMNS": "160"}


def make_scene(folder: Path, *, num_clips: int = 3, num_frames: int = 24) -> Scene:
    """Write the model, the clips, and two questions on each."""
    write_tiny_llava(folder / "model")
    questions = []
    for clip in range(num_clips):
        write_clip(folder / "media" / f"{clip}.mp4", num_frames=num_frames, seed=clip)
        for number, text in enumerate(QUESTIONS):
            line = {"id": f"{clip}-{number}", "question": text, "answer": "yes"}
            questions.append({**line, "video": f"{clip}.mp4"})
    write_questions(folder, questions)
    return Scene(folder=folder)


def write_questions(folder: Path, questions: list[dict[str, Any]]) -> None:
    """Write the questions file."""
    text = "".join(json.dumps(line) + "\n" for line in questions)
    (folder / "questions.jsonl").write_text(text, encoding="utf-8")
