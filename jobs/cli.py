"""The command line. Everything a run consists of is said in its YAML file."""

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console

from encodeonce.cache_store.store import StoreError
from encodeonce.harness.config import RunConfig, load_config
from encodeonce.harness.coverage import RunCoverage, measure_coverage
from encodeonce.harness.plan import make_plan
from encodeonce.harness.report import headline, sections
from encodeonce.harness.report_markdown import to_markdown
from encodeonce.harness.report_terminal import print_report
from encodeonce.harness.run_folder import RunFolder
from encodeonce.harness.summary import problems
from encodeonce.jobs.bench_cli import bench_app
from encodeonce.jobs.executor import WorkerStartError
from encodeonce.jobs.executors import executor_for
from encodeonce.jobs.pipeline import Pipeline
from encodeonce.jobs.quantize_cli import quantize
from encodeonce.jobs.store_cli import store_app
from encodeonce.models.checkpoint import hide_loading_bars

app = typer.Typer(
    help="Evaluate vision-language models: encode every video once, answer everything from that.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
console = Console()

RunFile = Annotated[
    Path, typer.Argument(metavar="RUN.yaml", help="What to run; `encodeonce schema` explains it.")
]
RayAddress = Annotated[
    str | None,
    typer.Option(
        envvar="RAY_ADDRESS",
        help="Ray cluster to use ('auto' or host:port); by default one is started here.",
    ),
]
Output = Annotated[
    Path | None, typer.Option(help="Output folder, instead of the one in the run file.")
]


app.add_typer(store_app, name="store")
app.add_typer(bench_app, name="bench")
app.command("quantize")(quantize)


@app.command()
def run(path: RunFile, ray_address: RayAddress = None, output: Output = None) -> None:
    """Encode what is missing, answer all questions, and report. Repeat it to resume."""
    with _user_errors():
        config = _load(path, output)
        with executor_for(config.workers, ray_address) as executor:
            pipeline = Pipeline(config, executor)
            with pipeline.folder:
                pipeline.precompute()
                pipeline.check_uncached()
                pipeline.evaluate()
        _finish(pipeline.folder)


@app.command()
def precompute(
    path: RunFile,
    ray_address: RayAddress = None,
    output: Output = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what is in the store and what is missing.")
    ] = False,
) -> None:
    """Put the features of all media of a run into the store."""
    with _user_errors():
        config = _load(path, output)
        if dry_run:
            coverage = _coverage(config)
            _print_coverage(coverage, path)
            raise typer.Exit(1 if coverage.errors else 0)
        with executor_for(config.workers, ray_address) as executor:
            pipeline = Pipeline(config, executor)
            with pipeline.folder:
                pipeline.precompute()
        _finish(pipeline.folder)


@app.command("eval")
def evaluate(path: RunFile, ray_address: RayAddress = None, output: Output = None) -> None:
    """Answer all questions of a run from stored features, and report."""
    with _user_errors():
        config = _load(path, output)
        if config.cache.on_miss == "error":
            coverage = _coverage(config)
            if not coverage.is_complete:
                _print_coverage(coverage, path)
                _stop("evaluation needs features that are not in the store (cache.on_miss: error)")
        with executor_for(config.workers, ray_address) as executor:
            pipeline = Pipeline(config, executor)
            with pipeline.folder:
                pipeline.check_uncached()
                pipeline.evaluate()
        _finish(pipeline.folder)


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(help="Output folder of a run.")],
) -> None:
    """Print the report of a run, and write it again as report.md and report.json."""
    with _user_errors():
        _finish(RunFolder(folder))


@app.command()
def schema() -> None:
    """Print the JSON schema of a run file, with what every key means."""
    console.print_json(json.dumps(RunConfig.model_json_schema()))


def main() -> None:
    """Entry point of the ``encodeonce`` command."""
    hide_loading_bars()
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    app()


def _load(path: Path, output: Path | None) -> RunConfig:
    config = load_config(path)
    return config if output is None else config.model_copy(update={"output": output})


def _finish(folder: RunFolder) -> None:
    """Write and print the report; exit with 1 if anything failed."""
    summary = folder.summary()
    parts = sections(summary)
    (folder.path / "report.json").write_text(json.dumps(summary, indent=2) + "\n", "utf-8")
    page = to_markdown(f"encodeonce: {folder.path.name}", parts)
    (folder.path / "report.md").write_text(page, "utf-8")
    print_report(console, parts)
    for line in headline(summary):
        console.print(line, style="bold", highlight=False, soft_wrap=True)
    console.print(f"report: {folder.path / 'report.md'}", highlight=False, soft_wrap=True)
    if found := problems(summary):
        _stop("; ".join(found))


def _coverage(config: RunConfig) -> RunCoverage:
    plan = make_plan(config)
    with console.status("looking media up in the store"):
        return measure_coverage(config, plan)


def _print_coverage(coverage: RunCoverage, path: Path) -> None:
    console.print(
        f"{coverage.num_media} media: {coverage.num_present} units in the store, "
        f"{coverage.num_missing} missing, {coverage.num_damaged} damaged; "
        f"{len(coverage.errors)} media unusable",
        highlight=False,
    )
    for name, error in coverage.errors:
        console.print(f"  {name}: {type(error).__name__}: {error}", highlight=False)
    if not coverage.is_complete:
        some = ", ".join(coverage.media_with_gaps[:3])
        more = len(coverage.media_with_gaps) - 3
        console.print(f"missing for: {some}{f' and {more} more' if more > 0 else ''}")
        console.print(f"fill the gap with: encodeonce precompute {path}", highlight=False)


@contextmanager
def _user_errors() -> Iterator[None]:
    """Print what the user can mend as one message, without a traceback."""
    try:
        yield
    # ValueError: every refusal of ours derives from it (configuration, media, checkpoint).
    except (ValueError, StoreError, WorkerStartError) as error:
        _stop(f"{error}")


def _stop(message: str) -> NoReturn:
    Console(stderr=True).print(f"encodeonce: {message}", style="red", highlight=False, markup=False)
    sys.exit(1)


if __name__ == "__main__":
    main()
