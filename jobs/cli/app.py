"""The ``encodeonce`` command. Its run file, in YAML, describes everything about a run."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from encodeonce.harness.report.numbers import human_count
from encodeonce.harness.report.plain_console import PlainConsole, UnprintableError
from encodeonce.harness.report.summary import headline
from encodeonce.harness.report.terminal import print_report
from encodeonce.harness.report.visible import log_visibly, on_one_line
from encodeonce.harness.report.write import UnwrittenReport, WrittenReport, write_report
from encodeonce.harness.results.summary import problems
from encodeonce.harness.results.work import Work
from encodeonce.harness.run.config import AnswerConfig, RunConfig
from encodeonce.harness.run.folder import RunFolder
from encodeonce.harness.run.plan import make_plan
from encodeonce.harness.run.read_config import check_device, load_config
from encodeonce.harness.serving.config import ServeConfig
from encodeonce.harness.training.adapter.config import TrainAdapterConfig
from encodeonce.harness.training.compressor.config import TrainCompressorConfig
from encodeonce.harness.training.fusion.config import FuseConfig
from encodeonce.harness.workers.coverage import RunCoverage, measure_coverage
from encodeonce.jobs.cli.bench.app import bench_app
from encodeonce.jobs.cli.benchmarks import benchmarks
from encodeonce.jobs.cli.calibrate import calibrate_app
from encodeonce.jobs.cli.compare import compare_runs
from encodeonce.jobs.cli.convert import convert_app
from encodeonce.jobs.cli.export import export
from encodeonce.jobs.cli.fuse import fuse_app
from encodeonce.jobs.cli.merge import merge_app
from encodeonce.jobs.cli.quantize import quantize
from encodeonce.jobs.cli.run_options import Output, RayAddress
from encodeonce.jobs.cli.running import running
from encodeonce.jobs.cli.store import store_app
from encodeonce.jobs.cli.train import train_app
from encodeonce.jobs.cli.user_errors import in_words, stop, user_errors
from encodeonce.jobs.cli.vlmevalkit import UNTOUCHED, vlmevalkit
from encodeonce.models.checkpoint.files import hide_loading_bars

app = typer.Typer(
    help="Evaluate vision-language models: encode every image and video once, answer all questions "
    "from the stored features.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
console = PlainConsole()

MOST_REASONS = 20
"""Most media that a command gives the reasons of; the run's precompute.jsonl has all."""

RUN_FILES: Mapping[str, type[AnswerConfig]] = {
    "run": RunConfig,
    "train": TrainCompressorConfig,
    "adapter": TrainAdapterConfig,
    "fuse": FuseConfig,
    "serve": ServeConfig,
}

RunFile = Annotated[
    Path,
    typer.Argument(metavar="RUN.yaml", help="Run file; `encodeonce schema` explains its keys."),
]


app.add_typer(store_app, name="store")
app.add_typer(bench_app, name="bench")
app.add_typer(calibrate_app, name="calibrate")
app.add_typer(train_app, name="train")
app.add_typer(fuse_app, name="fuse")
app.add_typer(merge_app, name="merge")
app.add_typer(convert_app, name="convert")
app.command("benchmarks")(benchmarks)
app.command("compare")(compare_runs)
app.command("export")(export)
app.command("vlmevalkit", context_settings=UNTOUCHED)(vlmevalkit)
app.command("quantize")(quantize)


@app.command()
def run(path: RunFile, ray_address: RayAddress = None, output: Output = None) -> None:
    """Encode what is missing, answer all questions, and report. Run it again to resume."""
    with user_errors():
        config = _load(path, output)
        _check_device(path, config, ray_address)
        with running(config, ray_address) as pipeline:
            pipeline.precompute()
            pipeline.check_uncached()
            pipeline.evaluate()
        _finish(pipeline.folder, work=pipeline.work)


@app.command()
def precompute(
    path: RunFile,
    ray_address: RayAddress = None,
    output: Output = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only print how much the store has and lacks.")
    ] = False,
) -> None:
    """Put the features of all media of a run into the store."""
    with user_errors():
        config = _load(path, output)
        if dry_run:
            coverage = _coverage(config)
            _print_coverage(coverage, path, config)
            raise typer.Exit(1 if coverage.errors else 0)
        _check_device(path, config, ray_address)
        with running(config, ray_address) as pipeline:
            pipeline.precompute()
        _finish(pipeline.folder, work=pipeline.work)


@app.command("eval")
def evaluate(path: RunFile, ray_address: RayAddress = None, output: Output = None) -> None:
    """Answer all questions of a run from stored features, and report."""
    with user_errors():
        config = _load(path, output)
        _check_device(path, config, ray_address)
        if config.cache.on_miss == "error":
            coverage = _coverage(config)
            if not coverage.is_complete:
                _print_coverage(coverage, path, config)
                stop("evaluation needs features that are not in the store (cache.on_miss: error)")
        with running(config, ray_address) as pipeline:
            pipeline.check_uncached()
            pipeline.evaluate()
        _finish(pipeline.folder, work=pipeline.work)


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(help="Output folder of a run.")],
    html: Annotated[
        bool,
        typer.Option("--html", help="Also write report.html, with figures, answers and frames."),
    ] = False,
) -> None:
    """Print the report of a run, and write report.md and report.json anew."""
    with user_errors():
        _finish(RunFolder(folder), html)


@app.command()
def schema(
    kind: Annotated[str, typer.Argument(help=f"Kind of run file: {', '.join(RUN_FILES)}.")] = "run",
) -> None:
    """Print the JSON schema of a run file: its keys, their meanings and defaults."""
    with user_errors():
        if kind not in RUN_FILES:
            raise ValueError(f"there is no run file {kind!r}; allowed: {', '.join(RUN_FILES)}")
        console.print_json(json.dumps(RUN_FILES[kind].model_json_schema()))


def main() -> None:
    """Entry point of the ``encodeonce`` command."""
    hide_loading_bars()
    log_visibly()
    try:
        app()
    except OSError as error:  # of what is printed outside the commands: the help, a schema
        is_help = error.filename is None and not isinstance(error, UnprintableError)
        stop(f"stdout cannot be written: {error.strerror}" if is_help else in_words(error))


def _load(path: Path, output: Path | None) -> RunConfig:
    config = load_config(path)
    return config if output is None else config.model_copy(update={"output": output})


def _check_device(path: Path, config: RunConfig, ray_address: str | None) -> None:
    """Refuse a device that the workers lack, where they are on this machine."""
    if config.workers.executor == "local" or not ray_address:
        check_device(path, config)


def _finish(folder: RunFolder, html: bool = True, work: Work | None = None) -> None:
    """Write and print the report; exit with 1 if anything failed."""
    failed = []
    try:
        written = write_report(folder, html=html)
    except UnwrittenReport as error:
        written = error.report
        failed.append(f"{error}")
    try:
        _print(written, work)
    except UnprintableError as error:
        where = f"; the report is in {written.pages[0]}" if written.pages else ""
        failed.append(f"{error}{where}")
    if failed := [*problems(written.summary), *failed]:
        stop("; ".join(failed))


def _print(written: WrittenReport, work: Work | None) -> None:
    print_report(console, written.sections)
    for line in headline(written.summary, work):
        console.print(line, style="bold", soft_wrap=True)
    for page in written.pages:
        console.print(f"report: {page}", soft_wrap=True)
    if written.official:
        console.print(f"for official evaluators: {written.official}", soft_wrap=True)


def _coverage(config: RunConfig) -> RunCoverage:
    plan = make_plan(config)
    with console.status("looking features up in the store"):
        return measure_coverage(config, plan)


def _print_coverage(coverage: RunCoverage, path: Path, config: RunConfig) -> None:
    console.print(
        f"{human_count(coverage.num_media, 'media item')}: {coverage.num_present} units in the "
        f"store, {coverage.num_missing} missing, {coverage.num_damaged} damaged; "
        f"{human_count(len(coverage.errors), 'media item')} unusable",
    )
    for name, error in coverage.errors:
        console.print(f"  {on_one_line(name)}: {type(error).__name__}: {error}", soft_wrap=True)
    if not coverage.is_complete:
        some = ", ".join(map(on_one_line, coverage.media_with_gaps[:3]))
        more = len(coverage.media_with_gaps) - 3
        console.print(f"features are missing for: {some}{f' and {more} more' if more > 0 else ''}")
        for item, reason in list(_reasons(coverage, config).items())[:MOST_REASONS]:
            console.print(f"  precompute failed on {on_one_line(item)}: {reason}", soft_wrap=True)
        console.print(f"encode them with: encodeonce precompute {path}")


def _reasons(coverage: RunCoverage, config: RunConfig) -> dict[str, str]:
    """Return why an earlier precompute of this run failed on media that lack features."""
    gaps = tuple(f"/{name}" for name in coverage.media_with_gaps)
    unusable = RunFolder(config.output).unusable_media()
    return {item: reason for item, reason in unusable.items() if item.endswith(gaps)}


if __name__ == "__main__":
    main()
