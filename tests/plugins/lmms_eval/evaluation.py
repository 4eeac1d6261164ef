"""lmms-eval's own command line, on a task of ours, without a network."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import encodeonce.datasets.prompts as prompts
from encodeonce.datasets.demo.questions import KINDS
from encodeonce.datasets.prompts import format_question
from encodeonce.models.checkpoint.files import DEMO_CHECKPOINT

TASKS = Path(__file__).parent / "tasks"
DEMO = Path(prompts.__file__).parent / "demo"
NUM_CLIPS, NUM_FRAMES = 8, 8
MODEL = f"pretrained={DEMO_CHECKPOINT},dtype=float32,device=cpu"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The files that lmms-eval wrote."""

    results: Mapping[str, Any]
    samples: Mapping[str, list[dict[str, Any]]]
    log: str

    def answers(self, task: str) -> list[Any]:
        """Return the answers in the order of the questions."""
        return [sample["filtered_resps"] for sample in self.samples[task]]

    def figure(self, name: str) -> float:
        """Return one of our values among lmms-eval's results."""
        return float(self.results["throughput"][f"avg_{name}"])

    @property
    def answering_s(self) -> float:
        """Seconds that answering took, as the model's class reports them."""
        return float(self.results["throughput"]["total_elapsed_time"])

    @property
    def whole_s(self) -> float:
        """Seconds from before the model is loaded to the end."""
        return float(self.results["total_evaluation_time_seconds"])


def write_questions(folder: Path) -> int:
    """Write the questions on some clips of the demo to where the tasks look; return how many."""
    lines = (DEMO / "questions.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [row for row in map(json.loads, lines) if row["tags"]["split"] == "heldout"]
    clips = list(dict.fromkeys(row["video"] for row in rows))[:NUM_CLIPS]
    free: dict[str, list[str]] = {kind: [] for kind in KINDS}
    for row in rows:
        if not row["choices"]:
            free[row["tags"]["kind"]].append(row["answer"])
    docs = []
    for row in rows:
        if row["video"] not in clips:
            continue
        answer, others = row["answer"], dict.fromkeys(free[row["tags"]["kind"]])
        # What the model is asked for: a letter, or one of the answers to questions of the kind.
        options = list("ABCD") if row["choices"] else [answer, *(o for o in others if o != answer)]
        doc = {
            "video": str(DEMO / row["video"]),
            "prompt": format_question(row["question"], row["choices"]),
            "right": answer,
            "options": options[:4],
            "option": options.index(answer),
        }
        docs.append(doc)
    (folder / "questions.json").write_text("".join(f"{json.dumps(doc)}\n" for doc in docs))
    return len(docs)


def command(model: str, model_args: str, tasks: str, *options: str) -> list[str]:
    """Return lmms-eval's command line."""
    return [
        *(sys.executable, "-m", "lmms_eval", "--model", model, "--model_args", model_args),
        *("--tasks", tasks, "--include_path", str(TASKS), "--batch_size", "1"),
        *("--output_path", "out", "--log_samples", *options),
    ]


def environment(folder: Path, **more: str) -> dict[str, str]:
    """Return an environment without a network, on one thread: answers are compared."""
    offline = dict.fromkeys(("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"), "1")
    one_thread = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return {**os.environ, **offline, **one_thread, "HF_HOME": str(folder / "hf"), **more}


def run(folder: Path, arguments: Sequence[str], **env: str) -> subprocess.CompletedProcess[str]:
    """Run a command in ``folder`` to its end."""
    return subprocess.run(
        arguments,
        cwd=folder,
        env=environment(folder, **env),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=240,
        check=False,
    )


def evaluate(
    folder: Path, tasks: str, *options: str, model: str = "encodeonce", model_args: str
) -> Outcome:
    """Evaluate, and return what lmms-eval says, in its own files."""
    before = set(folder.glob("out/*/*"))
    done = run(folder, command(model, model_args, tasks, *options))
    made = sorted(set(folder.glob("out/*/*")) - before)
    assert made, done.stdout[-4000:]
    (results,) = (path for path in made if path.name.endswith("_results.json"))
    samples = {
        path.stem.partition("_samples_")[2]: [
            json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()
        ]
        for path in made
        if path.suffix == ".jsonl"
    }
    return Outcome(
        results=json.loads(results.read_text(encoding="utf-8")),
        samples=samples,
        log=done.stdout,
    )
