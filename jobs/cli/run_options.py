"""Options of the commands that take a run file: each stands for, or replaces, some of its keys."""

import inspect
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from encodeonce.datasets.strict_yaml import YamlError, parse_yaml
from encodeonce.harness.run.config import ConfigError, RunConfig
from encodeonce.harness.run.overrides import Override, benchmarks, entries, setting
from encodeonce.harness.run.read_config import load_run

RayAddress = Annotated[
    str | None,
    typer.Option(
        envvar="RAY_ADDRESS",
        help="Ray cluster to join: 'auto' or host:port. By default one is started on this machine.",
    ),
]
How = Annotated[
    str,
    typer.Option(
        "--progress",
        metavar="HOW",
        help="On stderr: auto (a bar, or lines in pipes and log files), json (an object a line), "
        "none.",
    ),
]
Output = Annotated[Path | None, typer.Option(help="Output folder, in place of the run file's.")]

_PANEL = "In place of a run file's keys"


def _option(*names: str, help: str, metavar: str) -> Any:  # noqa: A002 - typer's word
    return typer.Option(*names, help=help, metavar=metavar, rich_help_panel=_PANEL)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """What a command line says about a run."""

    path: Annotated[
        Path | None,
        typer.Argument(
            metavar="RUN.yaml",
            help="Run file; `encodeonce schema` explains its keys. Not needed where --model and "
            "--tasks are given.",
        ),
    ] = None
    model: Annotated[
        str | None,
        _option("--model", "-m", metavar="MODEL", help="A checkpoint: folder, hub id, or demo."),
    ] = None
    tasks: Annotated[
        list[str] | None,
        _option(
            "--tasks",
            "-t",
            metavar="NAME:PATH",
            help="Benchmarks and where their data are: video_mme:/data/Video-MME. Names of "
            "lmms-eval and VLMEvalKit are understood. Several at commas, or by repeating it.",
        ),
    ] = None
    kv: Annotated[
        list[str] | None,
        _option(
            "--kv",
            metavar="SETTING",
            help="KV-cache settings: full, snapkv@0.2, snapkv@0.2+int8:media. Several, too.",
        ),
    ] = None
    weights: Annotated[
        list[str] | None,
        _option("--weights", metavar="METHOD", help="Weight variants: none, rtn. Several, too."),
    ] = None
    adapters: Annotated[
        list[str] | None,
        _option("--adapters", metavar="FOLDER", help="LoRA adapters, or none. Several, too."),
    ] = None
    frames: Annotated[
        str | None,
        _option("--frames", metavar="N", help="Frames of a video, evenly spaced; or a mapping."),
    ] = None
    limit: Annotated[
        int | None,
        _option("--limit", metavar="N", help="Only the first so many samples of each benchmark."),
    ] = None
    device: Annotated[
        str | None, _option("--device", metavar="DEVICE", help="auto, cpu, cuda, cuda:1.")
    ] = None
    seed: Annotated[
        int | None,
        _option(
            "--seed",
            metavar="N",
            help="Of what draws numbers: needle's clips, random caches. Answers are greedy, and "
            "need none.",
        ),
    ] = None
    settings: Annotated[
        list[str] | None,
        _option(
            "--set",
            metavar="KEY=VALUE",
            help="Any key of a run file: workers.num_workers=8. Can be repeated.",
        ),
    ] = None
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Output folder, in place of the run file's."),
    ] = None

    def load(self) -> RunConfig:
        """Return the run.

        Raises:
            ConfigError: something is missing or not allowed.
        """
        overrides = self.overrides()
        has_model = any(one.place[0] == "model" for one in overrides)
        has_questions = any(one.place[0] == "benchmarks" for one in overrides)
        if self.path is None and not (has_model and has_questions):
            lacks = (
                "--tasks" if has_model else "--model" if has_questions else "--model and --tasks"
            )
            raise ConfigError(
                f"there is no run file, and no {lacks}. Type e.g.: encodeonce run --model demo "
                "--tasks demo, or encodeonce init run.yaml for a file to begin with"
            )
        return load_run(self.path, overrides, self.seed)

    def command(self, verb: str) -> str:
        """Return the command line that does something else with the same run."""
        words = ["encodeonce", verb, *([] if self.path is None else [str(self.path)])]
        for name in ("model", "tasks", "kv", "weights", "adapters", "frames", "limit", "device"):
            words += _words(f"--{name}", getattr(self, name))
        words += _words("--seed", self.seed) + _words("--set", self.settings)
        return shlex.join(words + _words("--output", self.output))

    def overrides(self) -> tuple[Override, ...]:
        """Return every option at its place in a run file.

        Raises:
            ConfigError: an option is not written as it should be.
        """
        return tuple(self._overrides())

    def _overrides(self) -> Iterator[Override]:
        if self.model is not None:
            yield Override(("model", "path"), self.model, "--model")
        if self.device is not None:
            yield Override(("model", "device"), self.device, "--device")
        if self.tasks:
            yield Override(("benchmarks",), benchmarks(self.tasks, "--tasks"), "--tasks")
        for name in ("weights", "adapters", "kv"):
            if texts := getattr(self, name):
                yield Override((name,), entries(texts, f"--{name}"), f"--{name}")
        if self.frames is not None:
            yield Override(("frames",), _frames(self.frames), "--frames")
        if self.limit is not None:
            yield Override(("limit",), self.limit, "--limit")
        yield from map(setting, self.settings or ())
        if self.output is not None:
            yield Override(("output",), str(self.output), "--output")


def _words(option: str, value: Any) -> list[str]:
    values = value if isinstance(value, list) else [] if value is None else [value]
    return [word for one in values for word in (option, str(one))]


def _frames(text: str) -> Any:
    try:
        found = parse_yaml(text).value
    except YamlError as error:
        raise ConfigError(f"--frames {text}: {error}") from error
    is_count = isinstance(found, int) and not isinstance(found, bool)
    return {"policy": "uniform_inclusive", "num_frames": found} if is_count else found


def with_run_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of `RunOptions`: typer sees each, the command gets all in one.

    Args:
        command: takes a `RunOptions` as its first argument, called ``options``.
    """
    first, *others = inspect.signature(command).parameters.values()
    assert first.name == "options"
    shared = inspect.signature(RunOptions).parameters
    names = list(shared)

    @wraps(command)
    def with_one(**given: Any) -> None:
        options = RunOptions(**{name: given.pop(name) for name in names})
        command(options, **given)

    every = [
        one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in (*shared.values(), *others)
    ]
    with_one.__signature__ = inspect.Signature(every)  # type: ignore[attr-defined]
    with_one.__annotations__ = {one.name: one.annotation for one in every}
    return with_one
