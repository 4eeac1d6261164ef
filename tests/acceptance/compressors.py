"""Trains the demo's compressors and compares them with every other method at equal bytes.

    python -m tests.acceptance.compressors [--work FOLDER]      (make accept-compressor)

Every factor is trained by `encodeonce train compressor`; then one run answers questions about 48
held-out clips under all settings, scope media: twice as many as ship, made like those by another
seed, because the intervals of 24 are wide. Each other method keeps at least as many entries as the
compressor leaves, each also in int4, where the compressor's entries are too: int4 costs little and
saves most, so a comparison without it would flatter merging.
"""

import argparse
import json
import math
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from encodeonce.harness.results.paired import paired_difference
from encodeonce.harness.run.folder import RunFolder
from encodeonce.harness.run.record import Record
from encodeonce.models.kv.registry import method_class, method_names

FACTORS = (4, 9, 18)
CLAIMED = (9, 18)
"""Factors at which a lead over selection is claimed; at the least there may be no room for one."""
LEAD = 0.10
CLIPS = Path("build/demo-heldout")
"""Made by the Makefile."""
MODEL = {"path": "demo", "dtype": "float32"}
Settings = Mapping[str, dict[str, Any]]


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def command(*words: str) -> None:
    subprocess.run([sys.executable, "-m", "encodeonce.jobs.cli.main", *words], check=True)


def train(work: Path, factor: int) -> Path:
    """Train a compressor by the run file that the demo's own came from."""
    recipe = yaml.safe_load(Path("datasets/demo/compressor.yaml").read_text("utf-8"))
    recipe["compressor"]["factor"] = factor
    recipe |= {"cache": {"path": str(work / "cache")}, "output": str(work / f"demo-{factor}")}
    path = work / f"train-{factor}.yaml"
    path.write_text(yaml.safe_dump(recipe), encoding="utf-8")
    command("train", "compressor", str(path))
    return work / f"demo-{factor}"


def others() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the methods that can choose before a question is read, with options."""
    for name in method_names():
        if name in ("full", "kvpress"):
            continue
        kind = method_class(name)
        if not kind.needs_question and not kind.is_trained:
            yield name, {}
    yield "random", {"shared": True}
    yield "random", {"seed": 1}


def settings(folders: Mapping[int, Path]) -> Settings:
    """Return the run's settings by label."""
    found: dict[str, dict[str, Any]] = {}
    for factor, folder in folders.items():
        entries = json.loads((folder / "compressor.json").read_text())["training"]["held_out"]
        keep = math.ceil(1e5 * entries["random"]["keep"]) / 1e5
        ours = {"method": "ccm", "compression_factor": factor, "options": {"path": str(folder)}}
        for name, options in others():
            words = "".join(f" {key}={value}" for key, value in options.items())
            found[f"{name}{words} @{factor}"] = {"method": name, "keep": keep, "options": options}
        found[f"ccm @{factor}"] = ours
        for label in [one for one in found if one.endswith(f"@{factor}")]:
            found[f"{label} int4"] = {**found[label], "precision": "int4"}
    for keep in (0.5, 0.2):  # what int4 allows a selection to keep at a compressor's bytes
        found[f"random {keep:g} int4"] = {"method": "random", "keep": keep, "precision": "int4"}
    return {label: {**one, "scope": "media", "label": label} for label, one in found.items()}


def run(work: Path, kv: Settings) -> RunFolder:
    content = {
        "model": MODEL,
        "benchmarks": [{"name": "demo", "options": {"folder": str(CLIPS.absolute())}}],
        "kv": ["full", *kv.values()],
        "fidelity": True,
        "cache": {"path": str(work / "cache"), "on_miss": "encode"},
        "workers": {"executor": "local"},
        "output": str(work / "answers"),
    }
    path = work / "answers.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    command("run", str(path))
    return RunFolder(work / "answers")


class Row:
    """The answers under one setting."""

    def __init__(self, label: str, records: Sequence[Record]) -> None:
        self.label = label
        self.records = sorted(records, key=lambda one: one.sample)
        self.scores = [float(one.score or 0.0) for one in self.records]
        self.clusters = [one.group for one in self.records]
        self.accuracy = sum(self.scores) / len(self.scores)
        kv = [one.kv for one in self.records if one.kv]
        self.kept = sum(one.kept_bytes for one in kv) / max(1, sum(one.full_bytes for one in kv))
        close = [one.fidelity for one in self.records if one.fidelity]
        self.kls = [one.total_kl / max(1, one.num_tokens) for one in close]
        tokens = max(1, sum(one.num_tokens for one in close))
        self.kl = sum(one.total_kl for one in close) / tokens


def bootstrap(differences: Sequence[float]) -> tuple[float, float]:
    """Return the 95 % interval of a mean, by resampling."""
    generator = np.random.default_rng(0)
    drawn = generator.choice(np.asarray(differences), (4000, len(differences))).mean(1)
    low, high = np.quantile(drawn, (0.025, 0.975))
    return float(low), float(high)


def judge(rows: Mapping[str, Row], factors: Sequence[int]) -> bool:
    """Print each claim with what was found; return whether all hold."""
    holds = True
    for factor in factors:
        ours = rows[f"ccm @{factor}"]
        rivals = [
            row
            for label, row in rows.items()
            if label.endswith(f"@{factor}") and not label.startswith("ccm")
        ]
        assert all(row.kept >= ours.kept for row in rivals), "a rival had fewer bytes"
        best = max(rivals, key=lambda row: row.accuracy)
        found = paired_difference(best.scores, ours.scores, ours.clusters)
        assert found is not None
        words = (
            f"factor {factor}: ccm {100 * ours.accuracy:.1f} %, best other {best.label} "
            f"{100 * best.accuracy:.1f} %, difference {100 * found.mean:+.1f} "
            f"({100 * found.low:+.1f} to {100 * found.high:+.1f})"
        )
        if factor in CLAIMED:
            kept = found.mean >= LEAD and found.low > 0
            holds &= kept
            words += f": a lead of {100 * LEAD:.0f} points {'holds' if kept else 'DOES NOT HOLD'}"
        say(words)
        closest = min(rivals, key=lambda row: row.kl)
        low, high = bootstrap(np.subtract(ours.kls, closest.kls).tolist())
        say(
            f"  mean KL {ours.kl:.3f}, closest other {closest.label} {closest.kl:.3f}, difference "
            f"per answer {low:+.3f} to {high:+.3f}"
        )
    return holds


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--work", type=Path, default=Path("build/accept-compressor"))
    parser.add_argument("--factors", type=int, nargs="+", default=FACTORS)
    options = parser.parse_args()
    work = options.work.absolute()
    work.mkdir(parents=True, exist_ok=True)
    began_s = time.monotonic()
    folders = {factor: train(work, factor) for factor in options.factors}
    folder = run(work, settings(folders))
    by_variant: dict[str, list[Record]] = {}
    for record in folder.records("records"):
        by_variant.setdefault(record.variant.partition("/")[2], []).append(record)
    rows = {label: Row(label, records) for label, records in by_variant.items()}
    say("\n| cache | accuracy | KL, nats | bytes kept |\n|---|---:|---:|---:|")
    for row in sorted(rows.values(), key=lambda row: (-row.kept, -row.accuracy)):
        kl = "" if row.label == "full" else f"{row.kl:.3f}"
        kept = 1.0 if row.label == "full" else row.kept
        say(f"| {row.label} | {100 * row.accuracy:.1f} % | {kl} | {100 * kept:.1f} % |")
    say("")
    holds = judge(rows, options.factors)
    say(f"{time.monotonic() - began_s:.0f} s")
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
