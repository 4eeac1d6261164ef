"""``encodeonce judge``: has a language model judge a run's answers."""

from pathlib import Path
from typing import Annotated, Any

import typer

from encodeonce.datasets.refusals import Refused, checked
from encodeonce.harness.judging.judge import plan_judging
from encodeonce.harness.report.plain_console import PlainConsole
from encodeonce.harness.run.after.judge_spec import JudgeSpec
from encodeonce.harness.run.folder import RunFolder
from encodeonce.harness.run.overrides import setting, with_overrides
from encodeonce.jobs.cli.report import finish
from encodeonce.jobs.cli.run_options import How
from encodeonce.jobs.cli.user_errors import user_errors
from encodeonce.jobs.execution.display import on_stderr
from encodeonce.jobs.judging import judge_folder, judge_of, plan_words, require_judgeable


def judge(
    folder: Annotated[Path, typer.Argument(help="Output folder of a run.")],
    model: Annotated[
        str | None, typer.Option(help="The judge, by the server's name for the model.")
    ] = None,
    url: Annotated[
        str | None, typer.Option(help="The server, up to the version: http://localhost:8000/v1.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Any key of the section judge: price.input=2.5. Can be repeated.",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what is left, and what it may cost.")
    ] = False,
    progress: How = "auto",
) -> None:
    """Have a language model judge a run's answers, and report. Run it again to resume."""
    with user_errors():
        run = RunFolder(folder)
        spec = _spec(folder, model, url, settings or ())
        require_judgeable(folder)
        if dry_run:
            words = plan_words(spec, plan_judging(folder, spec))
            PlainConsole().print(words, soft_wrap=True)
            return
        with on_stderr(progress) as display:
            judge_folder(run, spec, display)
        finish(run, log=True)


def _spec(
    folder: Path, model: str | None, url: str | None, settings: list[str] | tuple[()]
) -> JudgeSpec:
    """Return the run file's judge with what the options say.

    Raises:
        ValueError: there is no judge, or an option is not allowed.
    """
    own = judge_of(folder)
    content: dict[str, Any] = {} if own is None else own.model_dump()
    content |= {} if model is None else {"model": model}
    content |= {} if url is None else {"url": url}
    content = with_overrides(content, [setting(one) for one in settings])
    if "model" not in content:
        raise ValueError(
            f"the run in {folder} names no judge: add a section judge to its run file, or type "
            "e.g.: --model gpt-4o, with the key in OPENAI_API_KEY, or --model NAME --url "
            "http://localhost:8000/v1"
        )
    try:
        return checked(JudgeSpec, content)
    except Refused as error:
        raise ValueError(f"judge: {error}") from error
