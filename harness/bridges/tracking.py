"""Sends a run's figures to experiment trackers.

The folder `trackers/` is the registry: each file there knows one tracker, and is named as the
section `log` of a run file names it.
"""

import importlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from encodeonce.harness.results.summary import Summary
from encodeonce.harness.run.after.log_spec import LogSpec

FILES = ("report.json", "report.md", "report.html")


class TrackerError(ValueError):
    """A tracker is not installed, or refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tracked:
    """What trackers get."""

    id: str
    """The same for every command on the same folder: a run that goes on is the same run there."""
    name: str
    folder: Path
    """The run's."""
    config: Mapping[str, Any]
    """Of the run, plain JSON values."""
    figures: Mapping[str, float]
    """By names with slashes: ``video_mme/none/full/score``."""
    step: int
    """Answers so far."""
    files: tuple[Path, ...]
    """The report's."""


class Log(Protocol):
    """Sends to one tracker."""

    def __call__(self, run: Tracked, spec: Any) -> str:
        """Send, and return where it went, in a few words."""
        ...


def check_trackers(spec: LogSpec) -> None:
    """Refuse to begin without a tracker's library.

    Raises:
        TrackerError: one is not installed.
    """
    for name in spec.trackers():
        check_tracker(name)


def check_tracker(name: str) -> None:
    """Refuse to begin without one tracker's library.

    Raises:
        TrackerError: it is not installed.
    """
    if find_spec(name) is None:
        raise TrackerError(f"log: {name} is not installed; type: pip install 'encodeonce[{name}]'")


def log_run(folder: Path, summary: Summary, spec: LogSpec) -> tuple[list[str], list[str]]:
    """Send a run's figures and report to its trackers.

    A tracker that refuses keeps none of the others from being told.

    Args:
        folder: of the run, with its report.
        summary: of the run.
        spec: the trackers.

    Returns:
        Where it went, and what failed, one sentence each.
    """
    done, failed = [], []
    for name, own in spec.trackers().items():
        run = tracked(folder, summary, own.name)
        try:
            check_tracker(name)
            log: Log = importlib.import_module(f"encodeonce.harness.bridges.trackers.{name}").log
            done.append(f"{name}: {log(run, own)}")
        except Exception as error:  # a library's own, of any kind; the results are safe
            failed.append(f"log: {name}: {type(error).__name__}: {error}")
    return done, failed


def tracked(folder: Path, summary: Summary, name: str | None = None) -> Tracked:
    """Return what trackers get of a run.

    Args:
        folder: of the run.
        summary: of the run.
        name: of the run there; its folder's by default.
    """
    evaluation = summary["evaluation"]
    return Tracked(
        id=summary["run"]["fingerprint"][:16],
        name=name or folder.resolve().name,
        folder=folder,
        config={**summary["run"]["config"], "versions": summary["run"].get("versions", {})},
        figures=dict(_figures(summary)),
        step=evaluation["num_answered"] if evaluation else 0,
        files=tuple(path for one in FILES if (path := folder / one).is_file()),
    )


def _figures(summary: Summary) -> Iterator[tuple[str, float]]:
    if (evaluation := summary["evaluation"]) is not None:
        for name in ("num_samples", "num_answered", "hit_rate", "seconds_per_answer", "peak_bytes"):
            if evaluation[name] is not None:
                yield f"evaluation/{name}", float(evaluation[name])
    for variant, about in (summary["variants"] or {"variants": {}})["variants"].items():
        for benchmark, result in about["benchmarks"].items():
            place = f"{benchmark}/{variant}"
            yield f"{place}/num_scored", float(result["num_scored"])
            yield from _interval(f"{place}/score", result["accuracy"])
            for name, value in result["figures"].items():
                yield f"{place}/{name}", float(value)
    judges = set()
    for part in summary["judged"]:
        place = f"{part['benchmark']}/{part['variant']}"
        if place in judges:  # an earlier judge's
            continue
        judges.add(place)
        yield f"{place}/num_judged", float(part["num_judged"])
        yield from _interval(f"{place}/judged", part["mean"])
        for name, value in part["figures"].items():
            yield f"{place}/judged {name}", float(value)


def _interval(name: str, estimate: Mapping[str, float] | None) -> Iterator[tuple[str, float]]:
    if estimate is not None:
        yield name, float(estimate["mean"])
        yield f"{name}_low", float(estimate["low"])
        yield f"{name}_high", float(estimate["high"])
