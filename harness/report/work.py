"""The lines that say what one command did, not what the run's folder holds."""

from encodeonce.harness.report.numbers import hit_rate_words, human_count
from encodeonce.harness.results.summary import Summary
from encodeonce.harness.results.work import StageWork, Work, is_nothing_left


def work_lines(summary: Summary, work: Work) -> list[str]:
    """Return what a command did, stage by stage, or that nothing was left to do.

    Args:
        summary: of the run's folder.
        work: what the command did.
    """
    if is_nothing_left(work):
        return [f"nothing was left to do: {_done_before(summary, work)}"]
    lines = []
    if precompute := work.get("precompute"):
        lines.append(
            f"precompute   hit rate {_hits(precompute)}, "
            f"{human_count(precompute.cache.num_encoded, 'unit')} encoded"
        )
    if evaluation := work.get("evaluate"):
        now = f"{evaluation.num_kept} of {evaluation.num_total} answered"
        if evaluation.num_new < evaluation.num_total:
            now += f", {evaluation.num_new} of them asked now"
        lines.append(f"evaluation   hit rate {_hits(evaluation)}, {now}")
    return lines


def history_lines(summary: Summary) -> list[str]:
    """Return what all commands of a run did."""
    lines = []
    if precompute := summary["precompute"]:
        lines.append(
            f"precompute   hit rate {stage_hits(precompute)}, "
            f"{human_count(precompute['num_encoded'], 'unit')} encoded"
        )
    if evaluation := summary["evaluation"]:
        lines.append(
            f"evaluation   hit rate {stage_hits(evaluation)}, "
            f"{evaluation['num_answered']} of {evaluation['num_samples']} answered"
        )
    return lines


def stage_hits(stage: Summary) -> str:
    """Return the hit rate of a stage, from its part of the summary, in words."""
    return hit_rate_words(stage["hit_rate"], stage["num_hits_below"], stage["num_hits"])


def _hits(stage: StageWork) -> str:
    use = stage.cache
    return hit_rate_words(stage.hit_rate, use.num_hits_below, use.num_hits)


def _done_before(summary: Summary, work: Work) -> str:
    if "evaluate" not in work:
        num_media = work["precompute"].num_total
        return f"the features of {num_media} of {num_media} media are in the store"
    num_answers = work["evaluate"].num_total
    answers = f"{num_answers} of {num_answers} answers are there"
    times = (summary["evaluation"] or {}).get("answered_at")
    if not times:
        return answers
    first, last = (time[:16].replace("T", " ") for time in times)
    when = f"at {first}" if first == last else f"from {first} to {last}"
    return f"{answers}, given {when} UTC"
