"""The report of ``encodeonce bench peers``, in the terminal and as JSON."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from encodeonce.harness.bench.cells import ABSENT, spread, times
from encodeonce.harness.bench.peers.job import WAYS, Done
from encodeonce.harness.bench.peers.run import same_as_first
from encodeonce.harness.report.numbers import human_count
from encodeonce.harness.report.section import Section, Table


def sections(done: Mapping[str, Sequence[Done]], missing: Mapping[str, str]) -> list[Section]:
    """Return the report: one row for each way, and where the seconds of each went."""
    first = next(iter(done))
    num_answers = len(done[first][0].texts)
    same, baseline = same_as_first(done), _median(done[first])
    rows = []
    for name, way in WAYS.items():
        if name in missing:
            rows.append((way.title, *([ABSENT] * 7)))
        if name not in done:
            continue
        rounds = done[name]
        prefilled = rounds[0].num_prefilled
        rows.append(
            (
                way.title,
                spread([one.answer_s / num_answers for one in rounds], 4),
                times(baseline / _median(rounds)),
                f"{statistics.median(one.cpu_s for one in rounds) / num_answers:.4f}",
                f"{statistics.median(one.load_s for one in rounds):.1f}",
                str(rounds[0].num_encoded),
                ABSENT if prefilled is None else str(prefilled),
                f"{same[name]} of {num_answers}",
            )
        )
    columns = (
        "way",
        "s an answer",
        "faster",
        "cpu s",
        "loading, s",
        "encoded",
        "prefilled",
        "as the first",
    )
    measured = Section(
        title="One job, each way",
        table=Table(columns=columns, rows=tuple(rows)),
        sentences=(
            f"{human_count(num_answers, 'answer')}; medians (lowest to highest) of "
            f"{human_count(len(done[first]), 'round')}, each way in a process of its own, one "
            "thread each. 'cpu s': of an answer, the process's own work, which others on the "
            "machine do not lengthen. 'encoded': pictures and frames that a tower encoded; "
            "'prefilled': tokens of prompts whose keys and values were computed; 'as the first': "
            f"the same text as {WAYS[first].title} gave.",
        ),
        bullets=tuple(f"{WAYS[way].title}: {words}" for way, words in missing.items()),
    )
    return [measured, _stages(done, num_answers)]


def to_json(done: Mapping[str, Sequence[Done]], missing: Mapping[str, str]) -> dict[str, Any]:
    """Return all measurements as plain JSON values."""
    return {
        "ways": {way: [asdict(one) for one in rounds] for way, rounds in done.items()},
        "missing": dict(missing),
        "same_as_first": same_as_first(done),
    }


def _stages(done: Mapping[str, Sequence[Done]], num_answers: int) -> Section:
    names = dict.fromkeys(name for rounds in done.values() for name in rounds[0].stages)
    rows = [
        (
            WAYS[way].title,
            *(_milliseconds(rounds[0].stages.get(name), num_answers) for name in names),
        )
        for way, rounds in done.items()
        if rounds[0].stages
    ]
    return Section(
        title="Milliseconds an answer, by stage",
        table=Table(columns=("way", *names), rows=tuple(rows)),
        sentences=("Of the first round. vLLM does not tell its stages apart.",),
    )


def _milliseconds(seconds: float | None, num_answers: int) -> str:
    return ABSENT if seconds is None else f"{1000 * seconds / num_answers:.1f}"


def _median(rounds: Sequence[Done]) -> float:
    return statistics.median(one.answer_s for one in rounds)
