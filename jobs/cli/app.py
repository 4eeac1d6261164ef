"""The ``encodeonce`` command. Its run file, in YAML, describes everything about a run."""

from importlib.metadata import version
from typing import Annotated

import typer

from encodeonce.harness.report.plain_console import UnprintableError
from encodeonce.harness.report.visible import log_visibly
from encodeonce.jobs.cli.lazy import Lazy, LazyGroup
from encodeonce.jobs.cli.user_errors import in_words, stop


class _Commands(LazyGroup):
    lazy = {
        "run": Lazy(
            "run:run",
            "Encode what is missing, answer all questions, and report. Run it again to resume.",
        ),
        "init": Lazy(
            "init:init",
            "Write a run file: what the options say, and the other keys' defaults as comments.",
        ),
        "precompute": Lazy(
            "run:precompute", "Put the features of all media of a run into the store."
        ),
        "eval": Lazy(
            "run:evaluate", "Answer all questions of a run from stored features, and report."
        ),
        "judge": Lazy(
            "judge:judge",
            "Have a language model judge a run's answers, and report. Run it again to resume.",
        ),
        "report": Lazy(
            "report:report", "Print the report of a run, and write report.md and report.json anew."
        ),
        "compare": Lazy(
            "compare:compare_runs",
            "Compare two runs, or two variants: what differs, and its effect on answers and time.",
        ),
        "view": Lazy(
            "view:view",
            "Show all answers of a run, or of two side by side, as a page on this machine.",
        ),
        "export": Lazy(
            "export:export",
            "Write a run's records as tables, or as other harnesses would; files for each variant.",
        ),
        "benchmarks": Lazy(
            "benchmarks:benchmarks", "List the benchmarks, or show what one of them needs."
        ),
        "schema": Lazy(
            "schema:schema",
            "Print the JSON schema of a run file: its keys, their meanings and defaults.",
        ),
        "store": Lazy(
            "store:store_app", "Maintain a feature store: list, check, clean up, export and import."
        ),
        "bench": Lazy("bench.app:bench_app", "Measure the program itself."),
        "calibrate": Lazy(
            "calibrate:calibrate_app", "Calibrate KV-compression methods on samples of a run file."
        ),
        "train": Lazy(
            "train:train_app",
            "Train LoRA adapters, and what some KV methods need, from stored features.",
        ),
        "fuse": Lazy("fuse:fuse_app", "Pack several skills into few adapters."),
        "merge": Lazy("merge:merge_app", "Merge adapters into checkpoints."),
        "convert": Lazy(
            "convert:convert_app", "Convert what other projects have trained into files of ours."
        ),
        "quantize": Lazy(
            "quantize:quantize",
            "Quantise a model's language side by AWQ or round-to-nearest. Run it again to resume.",
        ),
        "vlmevalkit": Lazy(
            "vlmevalkit:vlmevalkit",
            "Run VLMEvalKit on its benchmarks and ours, with answers from stored features.",
            # Everything after the run file goes to run.py, whatever it looks like.
            {"allow_interspersed_args": False},
        ),
    }


app = typer.Typer(
    cls=_Commands,
    help="Evaluate vision-language models: encode every image and video once, answer all questions "
    "from the stored features.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"encodeonce {version('encodeonce')}")
        raise typer.Exit


@app.callback()
def _top(
    asked: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Options of the command itself."""


def main() -> None:
    """Entry point of the ``encodeonce`` command."""
    log_visibly()
    try:
        app()
    except OSError as error:  # of what is printed outside the commands: the help, a schema
        is_help = error.filename is None and not isinstance(error, UnprintableError)
        stop(f"stdout cannot be written: {error.strerror}" if is_help else in_words(error))


if __name__ == "__main__":
    main()
