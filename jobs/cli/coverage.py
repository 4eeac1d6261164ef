"""How much of a run's features the store has, in words."""

from encodeonce.harness.report.numbers import human_count
from encodeonce.harness.report.plain_console import PlainConsole
from encodeonce.harness.report.visible import on_one_line
from encodeonce.harness.run.config import RunConfig
from encodeonce.harness.run.folder import RunFolder
from encodeonce.harness.run.plan import make_plan
from encodeonce.harness.workers.coverage import RunCoverage, measure_coverage

MOST_REASONS = 20
"""Most media that a command gives the reasons of; the run's precompute.jsonl has all."""
console = PlainConsole()


def coverage_of(config: RunConfig) -> RunCoverage:
    """Look a run's features up in the store."""
    plan = make_plan(config)
    with console.status("looking features up in the store"):
        return measure_coverage(config, plan)


def print_coverage(coverage: RunCoverage, config: RunConfig, remedy: str) -> None:
    """Print what is there, what is missing and why, and the command that is the remedy."""
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
        console.print(f"encode them with: {remedy}", soft_wrap=True)


def _reasons(coverage: RunCoverage, config: RunConfig) -> dict[str, str]:
    """Return why an earlier precompute of this run failed on media that lack features."""
    gaps = tuple(f"/{name}" for name in coverage.media_with_gaps)
    unusable = RunFolder(config.output).unusable_media()
    return {item: reason for item, reason in unusable.items() if item.endswith(gaps)}
