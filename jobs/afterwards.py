"""What follows a run's answers, if its file asks for it: judging, and experiment trackers."""

from encodeonce.datasets.refusals import checked
from encodeonce.harness.bridges.tracking import check_trackers, log_run
from encodeonce.harness.judging.client import check_judge_client
from encodeonce.harness.results.summary import Summary
from encodeonce.harness.run.after.log_spec import LogSpec
from encodeonce.harness.run.config import RunConfig
from encodeonce.harness.run.folder import RunFolder
from encodeonce.jobs.execution.display import on_stderr
from encodeonce.jobs.judging import judge_folder


def check_afterwards(config: RunConfig) -> None:
    """Refuse, before anything is answered, what could not be done afterwards.

    Raises:
        ValueError: a library is not installed.
    """
    if config.judge is not None:
        check_judge_client()
    if config.log is not None:
        check_trackers(config.log)


def judge_if_asked(config: RunConfig, folder: RunFolder, progress: str) -> list[str]:
    """Have the answers judged, if the run says by whom; return what failed, one sentence each.

    A judge that fails leaves the report to be written: that says how many answers it has judged.
    """
    if config.judge is None:
        return []
    try:
        with on_stderr(progress) as display:
            judge_folder(folder, config.judge, display)
    except ValueError as error:
        return [str(error)]
    return []


def log_if_asked(folder: RunFolder, summary: Summary) -> tuple[list[str], list[str]]:
    """Send the figures to the trackers of the run's file, if it names some.

    Returns:
        Where they went, and what failed, one sentence each.
    """
    asked = summary["run"]["config"].get("log")
    if not asked:
        return [], []
    return log_run(folder.path, summary, checked(LogSpec, asked))
