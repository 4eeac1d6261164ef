"""The key figures at the top of a run's page, one number each."""

from collections.abc import Iterator
from dataclasses import dataclass

from encodeonce.harness.report.numbers import human_count, percent
from encodeonce.harness.results.summary import Summary


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """A number with a label above it and a note below it."""

    label: str
    value: str
    words: str
    is_bad: bool = False


def tiles(summary: Summary) -> Iterator[Tile]:
    """Yield the tiles of a run, the most interesting first."""
    evaluation = summary["evaluation"]
    if evaluation is None:
        if summary["precompute"] is not None:
            yield _hit_tile("precompute", summary["precompute"])
        return
    if num_failed := evaluation["num_samples"] - evaluation["num_answered"]:
        words = f"of {human_count(evaluation['num_samples'], 'sample')}"
        yield Tile(label="without an answer", value=str(num_failed), words=words, is_bad=True)
    for name, result in evaluation["benchmarks"].items():
        yield _score_tile(name, result)
    yield _hit_tile("evaluation", evaluation)
    if summary["comparison"] is not None:
        yield _same_answers_tile(summary["comparison"])
    if (speedup := _speedup(summary)) is not None:
        words = "less worker time than plain transformers"
        yield Tile(label="time of an answer", value=f"{speedup:.1f} times", words=words)


def _score_tile(name: str, result: Summary) -> Tile:
    estimate = result["accuracy"]
    scored = f"{result['num_scored']} of {result['num_samples']} scored"
    if estimate is not None:
        interval = f"{percent(estimate['low'], 1)} to {percent(estimate['high'], 1)}"
        return Tile(
            label=f"{name}: {result['measure']}",
            value=percent(estimate["mean"], 1),
            words=f"95 % interval {interval}; {scored}",
        )
    if (nll := result["nll"]) is not None:
        words = f"of {human_count(nll['num_tokens'], 'token')}"
        return Tile(label=f"{name}: perplexity", value=f"{nll['perplexity']:.4g}", words=words)
    return Tile(label=name, value="-", words=scored)


def _hit_tile(stage: str, use: Summary) -> Tile:
    words = f"{use['num_hits']} of {human_count(use['num_units'], 'unit')} from the store"
    return Tile(label=f"hit rate, {stage}", value=percent(use["hit_rate"]), words=words)


def _same_answers_tile(comparison: Summary) -> Tile:
    same, total = comparison["num_same_text"], comparison["num_with_text"]
    return Tile(
        label="cached and uncached",
        value=f"{same} of {total}",
        words="answers identical",
        is_bad=same < total,
    )


def _speedup(summary: Summary) -> float | None:
    """Return worker seconds per answer: plain transformers' divided by those from the store."""
    if summary["uncached"] is None:
        return None
    ours = summary["evaluation"]["seconds_per_answer"]
    theirs = summary["uncached"]["seconds_per_answer"]
    return theirs / ours if ours and theirs else None
