"""Kills runs with SIGKILL, again and again, and compares their answers with an undisturbed run's.

    python -m tests.acceptance.kills [--kills 60] [--work FOLDER]      (make test-kills)

The demo is asked under eight variants: by a run on two Ray workers, of which workers and now and
then the driver are killed, and by two runs at a time, without Ray, on one store. Kills are spread
over encoding and answering. In the end every answer must be there once, with the same bits, and
every unit must have been stored once and be whole.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import yaml

NUM_MEDIA, NUM_ANSWERS = 24, 144 * 8
WORKER, DRIVER = "worker", "driver"
DRIVERS = 0.25
"""Share of the kills under Ray that a driver dies of: beginning again takes half a minute."""
ENV = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "RAY_ADDRESS": ""}


class Kill(NamedTuple):
    """A kill to come: of whom, once a file of the run has so many lines."""

    file: str
    num_lines: int
    victim: str


@dataclass(slots=True, kw_only=True)
class Run:
    """A run that is killed, and begun again, until it has ended by itself."""

    folder: Path
    cache: Path
    workers: dict[str, Any]
    kills: list[Kill] = field(default_factory=list)
    done: list[Kill] = field(default_factory=list)
    process: "subprocess.Popen[str] | None" = None

    def start(self) -> None:
        content = {
            "model": {"path": "demo", "dtype": "float32", "device": "cpu"},
            "benchmarks": [{"name": "demo"}],
            "weights": ["none", "rtn"],
            "kv": [
                "full",
                {"method": "snapkv", "keep": [0.5, 0.1]},
                {"method": "knorm", "keep": 0.2},
            ],
            "cache": {"path": str(self.cache)},
            # Kills at random may hit one item several times, without its being to blame.
            "workers": {**self.workers, "max_attempts": 100},
            "output": str(self.folder / "out"),
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        file = self.folder / "run.yaml"
        file.write_text(yaml.safe_dump(content), encoding="utf-8")
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [*command("run"), str(file), "--progress", "none"],
                stdout=log,
                stderr=subprocess.STDOUT,
                env=ENV,
            )

    def num_lines(self, name: str) -> int:
        path = self.folder / "out" / f"{name}.jsonl"
        return path.read_bytes().count(b"\n") if path.exists() else 0

    def step(self) -> bool:
        """Kill what is to be killed by now; say whether the run goes on."""
        assert self.process is not None
        if (status := self.process.poll()) is not None:
            if status:
                raise SystemExit(f"a run ended by itself with {status}: {self.folder / 'log'}")
            return False
        while self.kills and self.num_lines(self.kills[0].file) >= self.kills[0].num_lines:
            if not self._kill(self.kills[0].victim):
                break
            self.done.append(self.kills.pop(0))
        return True

    def _kill(self, victim: str) -> bool:
        assert self.process is not None
        try:
            children = psutil.Process(self.process.pid).children(recursive=True)
            workers = [one for one in children if one.name().startswith("ray::WorkerHost")]
        except psutil.NoSuchProcess:
            return False
        if victim == WORKER:
            if workers:
                random.choice(workers).kill()
            return bool(workers)
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        psutil.wait_procs(children, timeout=120)
        self.start()
        return True

    def answers(self) -> dict[tuple[str, str], str]:
        """Return the digest of each answer's logits; none may be there twice."""
        lines = (self.folder / "out" / "records.jsonl").read_text(encoding="utf-8").splitlines()
        records = [json.loads(line) for line in lines]
        counts = Counter((one["variant"], one["sample"]) for one in records)
        twice = [key for key, count in counts.items() if count > 1]
        if twice:
            raise SystemExit(f"answered twice: {twice}")
        return {(one["variant"], one["sample"]): one["logits_sha256"] for one in records}


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "encodeonce.jobs.cli.main", *words]


def say(text: str) -> None:
    sys.stdout.write(f"{time.strftime('%H:%M:%S')} {text}\n")
    sys.stdout.flush()


def planned(
    rng: random.Random, count: int, victims: Sequence[str], shares: Iterable[float]
) -> list[Kill]:
    """Return kills, a third of them while features are made, the others while answers are."""
    stages = (("precompute", count // 3, NUM_MEDIA), ("records", count - count // 3, NUM_ANSWERS))
    weights = list(shares)
    return [
        Kill(name, at, rng.choices(victims, weights)[0])
        for name, number, last in stages
        # Not the last lines: they come together, and the stage ends with them.
        for at in sorted(rng.choices(range(last * 9 // 10), k=number))
    ]


def work_off(runs: Sequence[Run]) -> None:
    """Carry runs to their ends, at the same time."""
    for run in runs:
        run.start()
    going = list(runs)
    while going:
        going = [run for run in going if run.step()]
        time.sleep(0.02)


def judge(title: str, runs: Sequence[Run], expected: dict[tuple[str, str], str]) -> None:
    """Compare answers, and read the whole store.

    Raises:
        SystemExit: something is missing, differs, or is there twice.
    """
    for run in runs:
        found = run.answers()
        if found != expected:
            differing = sum(found.get(key) != digest for key, digest in expected.items())
            raise SystemExit(
                f"{title}: {differing} of {len(expected)} answers differ or are missing"
            )
    subprocess.run([*command("store", "verify"), str(runs[0].cache)], env=ENV, check=True)
    kills = Counter((one.file, one.victim) for run in runs for one in run.done)
    missed = sum(len(run.kills) for run in runs)
    told = ", ".join(f"{count} {victim}s in {name}" for (name, victim), count in kills.items())
    say(f"{title}: {kills.total()} kills ({told}; {missed} came too late); all answers the same")


def main(folder: Path, num_kills: int, seed: int) -> None:
    rng = random.Random(seed)
    local, ray = {"executor": "local"}, {"executor": "ray", "num_workers": 2}
    undisturbed = Run(folder=folder / "undisturbed", cache=folder / "cache", workers=local)
    say("the undisturbed run")
    work_off([undisturbed])
    expected = undisturbed.answers()
    if len(expected) != NUM_ANSWERS:
        raise SystemExit(f"the demo has {len(expected)} answers, not {NUM_ANSWERS}")
    say(f"two workers of Ray, {num_kills // 2} kills")
    run = Run(folder=folder / "ray", cache=folder / "cache-ray", workers=ray)
    run.kills = planned(rng, num_kills // 2, (WORKER, DRIVER), (1 - DRIVERS, DRIVERS))
    work_off([run])
    judge("Ray", [run], expected)
    say(f"two runs without Ray on one store, {num_kills - num_kills // 2} kills")
    each = (num_kills - num_kills // 2) // 2
    pair = [
        Run(
            folder=folder / name,
            cache=folder / "cache-local",
            workers=local,
            kills=planned(rng, each, (DRIVER,), (1,)),
        )
        for name in ("one", "other")
    ]
    work_off(pair)
    judge("two runs", pair, expected)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        main(given.work or Path(made), given.kills, given.seed)
