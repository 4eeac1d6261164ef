"""``encodeonce init``: writes a run file."""

import shlex

from encodeonce.harness.report.plain_console import PlainConsole
from encodeonce.harness.run.new_file import run_file_text
from encodeonce.harness.run.overrides import Override, with_overrides, with_seed
from encodeonce.harness.run.read_config import load_run
from encodeonce.jobs.cli.run_options import RunOptions, with_run_options
from encodeonce.jobs.cli.user_errors import user_errors

_AT_LEAST = (
    Override(("model", "path"), "demo", "the demo's model"),
    Override(("benchmarks",), [{"name": "demo"}], "the demo"),
    Override(("output",), "encodeonce-results/my-run", "the output folder"),
)
"""What a run file has to have, where the command line does not say it."""


@with_run_options
def init(options: RunOptions) -> None:
    """Write a run file: what the options say, and the other keys' defaults as comments."""
    with user_errors():
        path = options.path
        if path is None:
            raise ValueError("name the file to write: encodeonce init run.yaml")
        overrides = (*_AT_LEAST, *options.overrides())
        load_run(None, overrides, options.seed)
        content = with_overrides({}, overrides)
        if options.seed is not None:
            content = with_seed(content, options.seed)
        if path.exists():
            raise ValueError(f"{path} exists; name another file, or delete it")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(run_file_text(content), encoding="utf-8")
    PlainConsole().print(
        f"{path} is written; run it with: encodeonce run {shlex.quote(str(path))}", soft_wrap=True
    )
