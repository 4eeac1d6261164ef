"""Runs every way in processes of its own, one after another, round after round."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from encodeonce.harness.bench.peers.job import LIBRARIES, WAYS, Done, Job
from encodeonce.harness.run.config import RunConfig
from encodeonce.harness.run.plan import make_plan
from encodeonce.harness.workers.precompute import PrecomputeWorker


def find_pythons(given: Mapping[str, str]) -> dict[str, str]:
    """Return by library the interpreter in whose environment its ways run.

    Args:
        given: interpreters of other environments, by library; the others are looked for in this
            one.

    Raises:
        ValueError: a library is none that a way needs, an interpreter lacks it or us, or its
            checkout is not named.
    """
    found = {name: sys.executable for name, library in LIBRARIES.items() if library.is_here()}
    for name, python in given.items():
        if name not in LIBRARIES:
            allowed = ", ".join(LIBRARIES)
            raise ValueError(f"--python {name}={python}: allowed before '=': {allowed}")
        if not LIBRARIES[name].is_named():
            raise ValueError(
                f"--python {name}={python}: the environment variable {LIBRARIES[name].checkout} "
                f"must name its checkout. Type: {LIBRARIES[name].install}"
            )
        # A name alone is looked for on PATH; links are kept, as an environment's python is one.
        found[name] = str(Path(python).absolute()) if "/" in python else python
        _check(name, found[name])
    return found


def _check(name: str, python: str) -> None:
    names = ("encodeonce", LIBRARIES[name].module)
    look = f"from importlib.util import find_spec; print(*(n for n in {names} if not find_spec(n)))"
    try:
        done = subprocess.run(
            [python, "-c", look], capture_output=True, text=True, check=True, cwd="/"
        )
    except (OSError, subprocess.CalledProcessError) as error:
        raise ValueError(f"--python {name}={python}: it does not run: {error}") from None
    if missing := done.stdout.split():
        raise ValueError(f"--python {name}={python}: not installed there: {', '.join(missing)}")


def missing_ways(names: Iterable[str], pythons: Mapping[str, str]) -> dict[str, str]:
    """Return the ways that cannot be run here, with what to install.

    Args:
        names: keys of `WAYS`.
        pythons: what `find_pythons` returned.
    """
    needs = {name: WAYS[name].needs for name in names}
    return {
        name: f"not measured: {library} is not installed. Type: {LIBRARIES[library].install}"
        for name, library in needs.items()
        if library and library not in pythons
    }


def run_peers(
    config: RunConfig,
    ways: Sequence[str],
    folder: Path,
    num_rounds: int,
    pythons: Mapping[str, str],
    on_step: Callable[[str], None],
) -> dict[str, list[Done]]:
    """Return what each way did, round by round.

    Stores that a way finds filled are filled before the first round. One thread each.

    Args:
        config: the job, as a run.
        ways: keys of `WAYS`, all of which can be run here.
        folder: for stores and files between processes; of its own.
        num_rounds: how often each way does the whole job.
        pythons: what `find_pythons` returned.
        on_step: told what is done next.

    Raises:
        ValueError: a way failed; its last words are told.
    """
    job = Job(
        config=config.model_dump(mode="json", exclude={"engine"}),
        empty=str(folder / "empty"),
        connector=str(folder / "connector"),
    )
    job_file = job.write(folder / "job.json")
    on_step("filling the stores that some ways find filled")
    _fill(config)
    for way in ("vllm-connector", "lmms-eval-ours"):
        if way in ways:
            _run(way, job_file, folder, pythons)
    done: dict[str, list[Done]] = {way: [] for way in ways}
    for number in range(num_rounds):
        for way in [*ways[number % len(ways) :], *ways[: number % len(ways)]]:
            on_step(f"round {number + 1} of {num_rounds}: {WAYS[way].title}")
            shutil.rmtree(job.empty, ignore_errors=True)
            done[way].append(_run(way, job_file, folder, pythons))
    return done


def _fill(config: RunConfig) -> None:
    worker = PrecomputeWorker(config)
    for planned in make_plan(config).media():
        worker.do(planned)
    worker.close()


def _run(way: str, job_file: Path, folder: Path, pythons: Mapping[str, str]) -> Done:
    result = folder / f"{way}.json"
    result.unlink(missing_ok=True)
    python = pythons.get(WAYS[way].needs, sys.executable)
    command = [python, "-m", "encodeonce.harness.bench.peers.child", way]
    ended = subprocess.run(
        [*command, str(job_file), str(result)],
        env={**os.environ, **_ONE_THREAD},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if ended.returncode or not result.exists():
        words = "\n".join(ended.stdout.strip().splitlines()[-15:])
        raise ValueError(f"{WAYS[way].title} failed with status {ended.returncode}:\n{words}")
    return Done.read(result)


_ONE_THREAD: Mapping[str, str] = {
    **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1"),
    **dict.fromkeys(("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"), "1"),
}


def same_as_first(done: Mapping[str, Sequence[Done]]) -> dict[str, int]:
    """Return how many answers of each way are the same text as those of the first one."""
    first = next(iter(done.values()))[0].texts
    return {
        way: sum(rounds[0].texts[name] == text for name, text in first.items())
        for way, rounds in done.items()
    }
