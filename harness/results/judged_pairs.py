"""What one judge gave two answers to the same question, compared over all questions."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from encodeonce.harness.results.intervals import clustered_mean
from encodeonce.harness.results.paired import paired_difference
from encodeonce.harness.run.after.verdict import Standing, VerdictRecord
from encodeonce.harness.run.record import Record


def judged_differences(
    pairs: Sequence[tuple[Record, Record]], first: Standing, second: Standing
) -> list[dict[str, Any]]:
    """Return the paired difference by each judge that judged both answers to a question.

    Judges are the same if their model, prompt and settings are.

    Args:
        pairs: records of the same questions.
        first: verdicts about the first of each pair.
        second: verdicts about the second.
    """
    judges = {digest: one.judge.model for (digest, _), one in second.items()}
    found = []
    for digest, model in judges.items():
        given = [
            (one.group, *values)
            for one, other in pairs
            if (values := _values(first.get((digest, one.key)), second.get((digest, other.key))))
        ]
        if not given:
            continue
        groups, ours, theirs = (list(column) for column in zip(*given, strict=True))
        difference = paired_difference(ours, theirs, groups)
        means = [clustered_mean(values, groups) for values in (ours, theirs)]
        found.append(
            {
                "judge": {"model": model, "sha256": digest},
                "scores": [asdict(mean) if mean else None for mean in means],
                "difference": asdict(difference) if difference else None,
            }
        )
    return found


def _values(one: VerdictRecord | None, other: VerdictRecord | None) -> tuple[float, float] | None:
    if one is None or other is None or one.value is None or other.value is None:
        return None
    return one.value, other.value
