"""The lines that say what one command did, not what the run's folder holds."""

from encodeonce.harness.report.numbers import human_count, percent
from encodeonce.harness.results.summary import Summary
from encodeonce.harness.results.work import Work, is_nothing_left


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
            f"precompute   hit rate {percent(precompute.hit_rate)}, "
            f"{human_count(precompute.cache.num_encoded, 'unit')} encoded"
        )
    if evaluation := work.get("evaluate"):
        now = f"{evaluation.num_kept} of {evaluation.num_total} answered"
        if evaluation.num_new < evaluation.num_total:
            now += f", {evaluation.num_new} of them asked now"
        lines.append(f"evaluation   hit rate {percent(evaluation.hit_rate)}, {now}")
    return lines


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
