"""The program from Python: the words of the command line, and results as values."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from encodeonce.harness.report.compare import compare_headline, compare_sections
from encodeonce.harness.report.markdown import to_markdown
from encodeonce.harness.report.summary import headline
from encodeonce.harness.report.write import write_report
from encodeonce.harness.results import compare as results
from encodeonce.harness.results.run_summary import summarize_run
from encodeonce.harness.results.sides import read_side
from encodeonce.harness.results.summary import Summary, problems
from encodeonce.harness.results.table import COLUMNS, rows
from encodeonce.harness.run.after.verdict import latest, read_verdicts
from encodeonce.harness.run.config import RunConfig
from encodeonce.harness.run.folder import RunFolder
from encodeonce.harness.run.overrides import Override, benchmarks
from encodeonce.harness.run.read_config import load_run
from encodeonce.harness.run.record import Record
from encodeonce.harness.run.variant import adapters_in
from encodeonce.jobs.afterwards import check_afterwards, judge_if_asked, log_if_asked
from encodeonce.jobs.execution.display import on_stderr
from encodeonce.jobs.quiet import quieten_imports

if TYPE_CHECKING:
    import pandas

logger = logging.getLogger(__name__)

Entry = str | Mapping[str, Any]
"""An entry of a run file's list: ``"snapkv@0.2"``, or ``{"method": "snapkv", "keep": 0.2}``."""
Entries = Entry | Sequence[Entry]


class Run:
    """The results in a run's folder, finished or not."""

    def __init__(self, folder: Path | str) -> None:
        """Open a run's output folder.

        Raises:
            RunFolderError: there is no run in it.
        """
        self.folder = Path(folder)
        self._run = RunFolder(self.folder)
        self._run.description()

    def __repr__(self) -> str:
        return "\n".join([f"Run({str(self.folder)!r})", *headline(self.summary())])

    def summary(self) -> Summary:
        """Return all figures as plain JSON values: the content of ``report.json``."""
        return summarize_run(self._run)

    def problems(self) -> list[str]:
        """Return what failed, in words; nothing if every question has its answer."""
        return problems(self.summary())

    def records(self) -> list[Record]:
        """Return one record for each sample and variant: its answer, or its last error."""
        return self._run.records("records")

    def to_pandas(self) -> "pandas.DataFrame":
        """Return the records as a table, with the columns of `encodeonce export --to csv`.

        Raises:
            ImportError: pandas is not installed.
        """
        import pandas

        adapters = adapters_in(self._run.description().get("variants", {}))
        records = self.records()
        verdicts = latest(read_verdicts(self._run.path), records)
        return pandas.DataFrame(rows(records, adapters, verdicts), columns=list(COLUMNS))

    def report(self, *, html: bool = True) -> list[Path]:
        """Write the report's files anew; return those for readers.

        Raises:
            UnwrittenReport: they cannot be written.
        """
        return list(write_report(self._run, html=html).pages)

    def log(self) -> list[str]:
        """Send the figures to the trackers of the run's file; return what failed, in words."""
        return log_if_asked(self._run, self.summary())[1]


class Comparison:
    """Two runs, or variants, side by side."""

    def __init__(self, summary: Summary) -> None:
        """Hold what `encodeonce.harness.results.compare.compare` found."""
        self.summary = summary
        """All figures as plain JSON values."""

    def __repr__(self) -> str:
        return "\n".join(compare_headline(self.summary))

    def to_markdown(self) -> str:
        """Return all of it as a page."""
        names = " and ".join(self.summary[side]["name"] for side in ("first", "second"))
        return to_markdown(f"encodeonce: {names}", compare_sections(self.summary))


def evaluate(run_file: Path | str | None = None, **words: Any) -> Run:
    """Encode what is missing, answer all questions, and return the results.

    ``evaluate(model="demo", benchmarks=["demo"], kv=["full", "snapkv@0.2"], limit=20)`` is
    ``encodeonce run --model demo --tasks demo --kv full,snapkv@0.2 --limit 20``. Called again, it
    goes on where it stopped; it raises nothing for samples that failed (`Run.problems`).

    Args:
        run_file: a run file, if there is one.
        **words: see `configure`; and ``ray_address``, of a Ray cluster to join, and ``progress``:
            ``"auto"``, ``"json"`` or ``"none"``, on standard error.

    Raises:
        ValueError: what is asked for cannot be done; says what to write instead.
    """
    return _run(run_file, words, ("precompute", "check_uncached", "evaluate"))


def precompute(run_file: Path | str | None = None, **words: Any) -> Run:
    """Put the features of all media of a run into the store, and answer nothing; see `evaluate`."""
    return _run(run_file, words, ("precompute",))


def compare(first: Run | Path | str, second: Run | Path | str) -> Comparison:
    """Compare two runs, or two variants: answers, accuracy with intervals, time, settings.

    Args:
        first: a run, its folder, or ``FOLDER:VARIANT`` for one of its variants.
        second: what changed, as above.

    Raises:
        ValueError: a folder has no such answers, or no question was asked in both.
    """
    sides = [read_side(str(one.folder if isinstance(one, Run) else one)) for one in (first, second)]
    return Comparison(results.compare(*sides))


def configure(
    run_file: Path | str | None = None,
    *,
    model: str | Mapping[str, Any] | None = None,
    benchmarks: Entries | None = None,
    kv: Entries | None = None,
    weights: Entries | None = None,
    adapters: Entries | None = None,
    frames: int | Mapping[str, Any] | None = None,
    limit: int | None = None,
    device: str | None = None,
    seed: int | None = None,
    output: Path | str | None = None,
    **settings: Any,
) -> RunConfig:
    """Return a run as its file describes it, with other values in it, or described here alone.

    Args:
        run_file: a run file.
        model: a checkpoint's folder or hub id, ``"demo"``, or a run file's ``model``.
        benchmarks: ``"video_mme:/data/Video-MME"`` (names of lmms-eval and VLMEvalKit are
            understood), or a run file's entries.
        kv: ``"full"``, ``"snapkv@0.2"``, ``"snapkv@0.2+int8:media"``, or a run file's entries.
        weights: ``"rtn"``, or a run file's entries.
        adapters: folders of LoRA adapters, or a run file's entries; ``"none"`` is the base.
        frames: how many, evenly spaced; or a run file's ``frames``.
        limit: only the first so many samples of each benchmark.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"``.
        seed: of whatever draws numbers; answers are greedy, and need none.
        output: the run's folder; by default one that follows from model and questions.
        **settings: any other key of a run file: ``workers={"num_workers": 8}``.

    Raises:
        ConfigError: something is missing or not allowed.
    """
    given: dict[str, Any] = {
        "benchmarks": None if benchmarks is None else _benchmarks(benchmarks),
        "kv": kv,
        "weights": weights,
        "adapters": adapters,
        "frames": {"policy": "uniform_inclusive", "num_frames": frames}
        if isinstance(frames, int)
        else frames,
        "limit": limit,
        "output": None if output is None else str(output),
        **settings,
    }
    if isinstance(model, str):
        places = [Override(("model", "path"), model, "model")]
    else:
        places = [Override(("model",), dict(model), "model")] if model is not None else []
    if device is not None:
        places.append(Override(("model", "device"), device, "device"))
    places += [
        Override((key, *inner), one, key)
        for key, value in given.items()
        if value is not None
        for inner, one in _leaves(value)
    ]
    return load_run(None if run_file is None else Path(run_file), places, seed)


def _leaves(value: Any) -> list[tuple[tuple[str, ...], Any]]:
    """Return a mapping's values by their keys: they replace single keys of a file's section."""
    if not isinstance(value, Mapping) or "policy" in value or "method" in value:
        return [((), value)]
    return [((key,), one) for key, one in value.items()]


def _benchmarks(given: Entries) -> list[Any]:
    found: list[Any] = []
    for one in [given] if isinstance(given, str | Mapping) else given:
        found += benchmarks([one], "benchmarks") if isinstance(one, str) else [dict(one)]
    return found


def _run(run_file: Path | str | None, words: Mapping[str, Any], stages: Sequence[str]) -> Run:
    given = dict(words)
    ray_address = given.pop("ray_address", None)
    progress = given.pop("progress", "auto")
    config = configure(run_file, **given)
    check_afterwards(config)
    quieten_imports()
    # Imported here: results are read without torch.
    from encodeonce.jobs.running import running

    with on_stderr(progress) as display, running(config, ray_address, display) as pipeline:
        for stage in stages:
            getattr(pipeline, stage)()
    if "evaluate" in stages:
        failed = judge_if_asked(config, pipeline.folder, progress)
        for problem in [*failed, *Run(config.output).log()]:
            logger.warning("%s", problem)
    return Run(config.output)
