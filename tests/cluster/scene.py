"""A run of the demo that a cluster carries out, and the answers that it must give."""

import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from encodeonce.harness.run.jsonl import read_json_lines

KV: list[Any] = ["full", {"method": "snapkv", "keep": [0.5, 0.1]}, {"method": "knorm", "keep": 0.2}]
MATRIX = {"weights": ["none", "rtn"], "kv": KV}
NUM_VARIANTS = 2 * 4
NUM_QUESTIONS = 144
NUM_ANSWERS = NUM_VARIANTS * NUM_QUESTIONS


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoRun:
    """The demo's questions under eight variants, with a folder of its own."""

    folder: Path

    @property
    def output(self) -> Path:
        return self.folder / "out"

    @property
    def file(self) -> Path:
        return self.folder / "run.yaml"

    def write(self, **changes: Any) -> Path:
        """Write the run file; keyword arguments are further keys."""
        content = {
            "model": {"path": "demo", "dtype": "float32", "device": "cpu"},
            "benchmarks": [{"name": "demo"}],
            "cache": {"path": str(self.folder / "cache")},
            "output": str(self.output),
            **MATRIX,
            **changes,
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        self.file.write_text(yaml.safe_dump(content), encoding="utf-8")
        return self.file

    def lines(self, name: str) -> list[dict[str, Any]]:
        """Return the lines of a file of the output folder; none if it is not there yet."""
        path = self.output / f"{name}.jsonl"
        return list(read_json_lines(path)) if path.exists() else []

    def num_lines(self, name: str) -> int:
        """Return how many whole lines such a file has."""
        path = self.output / f"{name}.jsonl"
        return path.read_bytes().count(b"\n") if path.exists() else 0

    def answers(self) -> dict[tuple[str, str], str]:
        """Return the digest of the logits of each (variant, sample); each must be there once."""
        records = self.lines("records")
        counts = Counter((one["variant"], one["sample"]) for one in records)
        assert set(counts.values()) <= {1}, "answered twice"
        return {(one["variant"], one["sample"]): one["logits_sha256"] for one in records}

    def hosts(self) -> Counter[str]:
        """Return how many answers each host gave."""
        return Counter(str(one["worker"]).rpartition(":")[0] for one in self.lines("records"))

    def report(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((self.output / "report.json").read_text())
        return content


def command(*arguments: str) -> list[str]:
    """Return a command line of encodeonce's."""
    return [sys.executable, "-m", "encodeonce.jobs.cli.main", *arguments]


def environment(**more: str) -> dict[str, str]:
    """Return the environment of what is started: one thread, no hub, no other cluster."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    ours = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0"}
    return {**kept, "COLUMNS": "160", **ours, **more}


def wait_for(what: Callable[[], object], *, seconds: float = 200, every_s: float = 0.1) -> None:
    """Wait until it is true."""
    deadline_s = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline_s, "waited too long"
        time.sleep(every_s)
