"""VLMEvalKit for tests: a folder to work in, a small task of the kit's own kind, and its run.py."""

import base64
import csv
import importlib.util
import io
import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from encodeonce.datasets.benchmarks.demo import BENCHMARK as DEMO
from encodeonce.datasets.media.decode import decode
from encodeonce.datasets.media.ledger import Ledger
from encodeonce.datasets.media.library import MediaLibrary
from encodeonce.datasets.media.probe import probe
from encodeonce.datasets.media.sampling import UniformInclusive
from tests.harness.bridges.export.sheets import read_xlsx

SHIM = Path(__file__).parents[2] / "torchvision_on_cpu"
KIT = os.environ.get("VLMEVALKIT", "")

needs_kit = pytest.mark.skipif(
    not KIT or importlib.util.find_spec("validators") is None,
    reason="needs VLMEvalKit: set VLMEVALKIT to a checkout of github.com/open-compass/VLMEvalKit "
    "and type `make test-vlmevalkit`, which makes an environment with what it imports",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """A folder with a run file, the kit's data folder and its results."""

    folder: Path

    def run_file(self, **changes: Any) -> Path:
        """Write the demo model's run file; keyword arguments replace its top-level keys."""
        content = {
            "model": {"path": "demo", "dtype": "float32", "device": "cpu"},
            "frames": {"policy": "uniform_inclusive", "num_frames": 8},
            "cache": {"path": str(self.folder / "cache")},
            **changes,
        }
        path = self.folder / "run.yaml"
        path.write_text(yaml.safe_dump(content), encoding="utf-8")
        return path

    def command(self, *arguments: str, **changes: Any) -> list[str]:
        """Return a command line for run.py, with results in ``outputs``."""
        launcher = [sys.executable, "-m", "encodeonce.jobs.cli.app", "vlmevalkit"]
        return [
            *launcher,
            str(self.run_file(**changes)),
            *arguments,
            "--work-dir",
            str(self.folder / "outputs"),
        ]

    def environment(self) -> dict[str, str]:
        """Return an environment without a network, with the kit's data in this folder."""
        path = os.pathsep.join(filter(None, [str(SHIM), os.environ.get("PYTHONPATH", "")]))
        return {
            **os.environ,
            "PYTHONPATH": path,
            "LMUData": str(self.folder / "LMUData"),
            "HF_HUB_OFFLINE": "1",
            "HF_DATASETS_OFFLINE": "1",
            "COLUMNS": "200",
        }

    def ask(self, *arguments: str, **changes: Any) -> "Said":
        """Run the kit to its end."""
        done = subprocess.run(
            self.command(*arguments, **changes),
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=400,
            check=False,
        )
        return Said(returncode=done.returncode, text=done.stdout + done.stderr)

    def predictions(self, dataset: str, model: str = "encodeonce") -> dict[int, str]:
        """Return the kit's predictions by index, from its newest result file."""
        rows = read_xlsx(self.folder / "outputs" / model / f"{model}_{dataset}.xlsx")
        return {int(row["index"]): str(row["prediction"]) for row in rows}

    def status(self, dataset: str, model: str = "encodeonce") -> dict[str, Any]:
        """Return what the kit's newest status.json says of a benchmark."""
        text = (self.folder / "outputs" / model / "status.json").read_text("utf-8")
        found: dict[str, Any] = json.loads(text)["datasets"][dataset]
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """The output of a command."""

    returncode: int
    text: str

    @property
    def num_questions(self) -> int:
        """Questions that our model was asked."""
        return int(self._figure(r"encodeonce: (\d+) questions?,"))

    @property
    def hits(self) -> tuple[int, int]:
        """Units in the store, and units looked up."""
        return (
            int(self._figure(r"hit rate .*?, (\d+) of \d+ units")),
            int(self._figure(r"hit rate .*?, \d+ of (\d+) units")),
        )

    def _figure(self, pattern: str) -> str:
        found = re.search(pattern, self.text)
        assert found, self.text
        return found[1]


def write_picture_task(bench: Bench, name: str, num_questions: int) -> None:
    """Write multiple-choice questions as the kit's own: a TSV with pictures in base64.

    A clip of the demo is eight pictures: that is what the demo's model was trained on.
    """
    library = MediaLibrary(DEMO().media_root, Ledger(None))
    samples = [sample for sample in DEMO().samples() if sample.choices][:num_questions]
    rows = []
    for index, sample in enumerate(samples):
        media = library.resolve(sample.media[0])
        info = probe(media, ledger=Ledger(None))
        frames = decode(media, info, UniformInclusive(num_frames=8).indices(info, None))
        rows.append(
            {
                "index": index,
                "image": str([_base64(pixels) for pixels in frames.pixels_THWC]),
                "question": sample.question,
                **dict(zip("ABCD", sample.choices, strict=True)),
                "answer": sample.target,
            }
        )
    path = bench.folder / "LMUData" / f"{name}.tsv"
    path.parent.mkdir(exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0], delimiter="\t")
        writer.writeheader()
        writer.writerows(rows)


def _base64(pixels: Any) -> str:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG")
    return base64.b64encode(file.getvalue()).decode("ascii")
