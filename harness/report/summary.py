"""The report of a run: sections of text and tables, from its summary alone.

`markdown`, `terminal` and `html` print the same sections.
"""

from collections.abc import Sequence

from encodeonce.harness.report.cells import variant_named
from encodeonce.harness.report.figures.grids import grid_sections
from encodeonce.harness.report.matrix import variant_sections
from encodeonce.harness.report.names import Names
from encodeonce.harness.report.numbers import human_bytes, human_count, human_seconds, percent
from encodeonce.harness.report.parts.judged import judged_headline, judged_sections
from encodeonce.harness.report.run_section import engine_of, run_section
from encodeonce.harness.report.section import Section, Table
from encodeonce.harness.report.work import history_lines, stage_hits, work_lines
from encodeonce.harness.results.summary import Summary
from encodeonce.harness.results.work import Work
from encodeonce.models.answer import NUM_FIRST_LOGITS


def sections(summary: Summary) -> list[Section]:
    """Return the report's sections; empty ones are left out."""
    found = [run_section(summary)]
    if summary["evaluation"] is not None:
        found.append(_answers(summary))
        found.extend(judged_sections(summary))
        found.extend(_own_scores(summary["evaluation"]))
        found.extend(variant_sections(summary))
        found.extend(grid_sections(summary))
    if summary["comparison"] is not None:
        found.append(_same_answers(summary))
    found.append(_store(summary))
    if summary["evaluation"] is not None:
        found.append(_time(summary))
    if bullets := _errors(summary):
        found.append(Section(title="Errors", bullets=bullets))
    return found


def headline(summary: Summary, work: Work | None = None) -> list[str]:
    """Return the lines that a command ends with.

    Args:
        summary: of the run's folder.
        work: what the command did; None for a command that only reports.
    """
    lines = history_lines(summary) if work is None else work_lines(summary, work)
    if evaluation := summary["evaluation"]:
        for name, result in evaluation["benchmarks"].items():
            lines.append(f"{result['measure']:<12} {_accuracy_words(result)} on {name}")
            for name, value in list(result["figures"].items())[:1]:
                lines.append(f"{'':<12} {name}: {value:.2f}")
    lines += judged_headline(summary)
    if comparison := summary["comparison"]:
        lines.append(same_answers_sentence(comparison))
    return lines


def same_answers_sentence(comparison: Summary) -> str:
    """Return the sentence that says whether caching changed an answer."""
    total, generated = comparison["num_with_text"], comparison["num_generated"]
    notes = []
    if generated or not comparison["num_compared"]:
        notes.append(f"logits bit for bit: {comparison['num_same_logits']} of {generated}")
    if (difference := comparison["largest_logit_difference"]) is not None:
        notes.append(f"first token's logits differ by at most {difference:.2g}")
    if (difference := comparison["largest_log_prob_difference"]) is not None:
        notes.append(f"log-probabilities differ by at most {difference:.2g}")
    same = f"cached and uncached answers identical: {comparison['num_same_text']} of {total}"
    return f"{same} ({'; '.join(notes)})"


def _answers(summary: Summary) -> Section:
    evaluation = summary["evaluation"]
    rows = []
    likelihoods: list[str] = []
    for name, result in evaluation["benchmarks"].items():
        rows.append(_answer_row(f"{name}: {result['measure']}", result))
        if nll := result["nll"]:
            likelihoods.append(
                f"{name}: negative log-likelihood of the reference texts "
                f"{nll['per_token']:.4f} per token (natural logarithm, "
                f"{human_count(nll['num_tokens'], 'token')}, "
                f"{human_count(nll['num_samples'], 'sample')})"
            )
        rows.extend(_answer_row(f"  {tag}", part) for tag, part in result["by_tag"].items())
    return Section(
        title="Answers",
        table=Table(
            columns=("benchmark", "mean score", "95 % interval", "scored"), rows=tuple(rows)
        ),
        sentences=(
            *_shown_variant(summary),
            "The interval is clustered, as questions about one video are not independent. Samples "
            "with an error are not scored.",
        ),
        bullets=tuple(likelihoods),
    )


def _shown_variant(summary: Summary) -> list[str]:
    """Name the variant whose scores are shown, where there are several."""
    if len(summary["variants"]["variants"]) < 2:
        return []
    shown = variant_named(summary, summary["evaluation"]["variant"])
    name = Names.of(summary).variant(shown)
    known_as = "" if name == shown.name else f" ({shown.name})"
    return [f"Answered under: {name}{known_as}."]


def _own_scores(evaluation: Summary) -> list[Section]:
    rows = tuple(
        (f"{name}: {score}", f"{value:.2f}")
        for name, result in evaluation["benchmarks"].items()
        for score, value in result["figures"].items()
    )
    title = "Scores as the benchmarks publish them"
    return (
        [Section(title=title, table=Table(columns=("score", "value"), rows=rows))] if rows else []
    )


def _answer_row(name: str, result: Summary) -> tuple[str, ...]:
    scored = f"{result['num_scored']} of {result['num_samples']}"
    if result["accuracy"] is None:
        return (name, "-", "-", scored)
    estimate = result["accuracy"]
    interval = f"{percent(estimate['low'], 1)} to {percent(estimate['high'], 1)}"
    return (name, percent(estimate["mean"], 1), interval, scored)


def _accuracy_words(result: Summary) -> str:
    _, mean, interval, scored = _answer_row("", result)
    return f"{mean} (95 % interval {interval}, {scored} scored)"


def _same_answers(summary: Summary) -> Section:
    comparison = summary["comparison"]
    return Section(
        title="Did caching change an answer?",
        sentences=(
            f"{same_answers_sentence(comparison).capitalize()}. Uncached answers come from "
            "plain transformers and the media file: every question decodes, encodes and prefills "
            "anew. Cached answers encode frames in other batches and prefill the prompt in two "
            "steps (media, then question); both change the rounding. Of the first token, the "
            f"largest {NUM_FIRST_LOGITS} logits are compared.",
            *_other_kernels(summary),
        ),
        bullets=tuple(
            f"{item['benchmark']}/{item['sample']}: cached {item['cached']!r}, "
            f"uncached {item['uncached']!r}"
            for item in comparison["different"]
        ),
    )


def _other_kernels(summary: Summary) -> list[str]:
    """Say that the two ways differ in more than caching, where another engine decoded."""
    if engine_of(summary["run"]["config"])["name"] == "transformers":
        return []
    return [
        "vLLM decoded the cached answers, with kernels of its own: where two tokens are about "
        "equally likely, it may choose the other one. Differences are no error of the run."
    ]


def _store(summary: Summary) -> Section:
    rows = []
    for name, stage in (("precompute", summary["precompute"]), ("evaluate", summary["evaluation"])):
        if stage is not None:
            rows.append(
                (
                    name,
                    str(stage["num_units"]),
                    stage_hits(stage),
                    str(stage["num_encoded"]),
                    str(stage["num_frames_decoded"]),
                    human_bytes(stage["bytes_read"]),
                    human_bytes(stage["bytes_written"]),
                )
            )
    columns = ("stage", "units asked", "hit rate", "encoded", "frames decoded", "read", "written")
    return Section(
        title="Feature store",
        table=Table(columns=columns, rows=tuple(rows)),
        sentences=_saved(summary),
    )


def _saved(summary: Summary) -> tuple[str, ...]:
    """Report how often each encoded unit was used, and the tower seconds that this saved."""
    evaluation, precompute = summary["evaluation"], summary["precompute"]
    if evaluation is None or not evaluation["num_visual_units"]:
        return ()
    shown = evaluation["num_visual_units"]
    encoded = evaluation["num_encoded"] + (precompute["num_encoded"] if precompute else 0)
    words = f"The questions used {human_count(shown, 'unit')} in all; this run encoded {encoded}."
    seconds = precompute["seconds"] if precompute else {}
    if not precompute or not precompute["num_encoded"]:
        return (words,)
    cost_s = sum(seconds.get(stage, 0.0) for stage in ("decode", "preprocess", "encode"))
    saved_s = cost_s / precompute["num_encoded"] * (shown - encoded)
    if saved_s <= 0:
        return (words,)
    each = "At what decoding and encoding a unit cost in precompute, the rest would have taken"
    return (f"{words} {each} {human_seconds(saved_s)}.",)


def _time(summary: Summary) -> Section:
    """Show where an answer's time goes, beside plain transformers where that was run."""
    ways = [("cached", summary["evaluation"])]
    if summary["uncached"] is not None:
        ways.insert(0, ("uncached", summary["uncached"]))
    spent = {name: way["stage_seconds_per_answer"] for name, way in ways if way["num_answered"]}
    stages = dict.fromkeys(stage for seconds in spent.values() for stage in seconds)
    rows = [
        (stage, *(_milliseconds(seconds.get(stage)) for seconds in spent.values()))
        for stage in stages
    ]
    total = [sum(seconds.values()) for seconds in spent.values()]
    rows.append(("all", *map(_milliseconds, total)))
    sentences = ["Milliseconds of worker time per answer, model loading excluded."]
    if len(summary["variants"]["variants"]) > 1:
        shown = variant_named(summary, summary["evaluation"]["variant"])
        sentences.append(
            f"'Cached' is under {Names.of(summary).variant(shown)} ({shown.name}) alone; work that "
            "it shares with other variants counts in full."
        )
    if cached := summary["evaluation"].get("num_cached_tokens"):
        share = percent(cached / summary["evaluation"]["num_prompt_tokens"])
        sentences.append(f"{share} of the prompts' tokens were found in vLLM's prefix cache.")
    if len(total) == 2 and total[1] > 0:
        sentences.append(
            f"With stored features, an answer takes {total[0] / total[1]:.1f} times less worker "
            "time than uncached. Uncached, preprocessing is part of 'prepare', and the tower part "
            "of 'prefill'."
        )
    heads = tuple(f"{name}, ms" for name in spent)
    return Section(
        title="Time per answer",
        table=Table(columns=("stage", *heads), rows=tuple(rows)),
        sentences=tuple(sentences),
    )


def _milliseconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{1000 * seconds:.1f}"


def _errors(summary: Summary) -> tuple[str, ...]:
    lines: list[str] = []
    for name in ("evaluation", "uncached"):
        for error in (summary[name] or {"errors": ()})["errors"]:
            lines.append(f"{error['type']}: {error['message']} ({_listed(error['samples'])})")
    said = "\n".join(lines)
    for error in (summary["precompute"] or {"errors": ()})["errors"]:
        reason = f"{error['type']}: {error['message']}"
        if reason not in said:
            lines.append(f"{reason} (media {error['media']})")
    return tuple(dict.fromkeys(lines))


def _listed(samples: Sequence[str]) -> str:
    shown = ", ".join(samples[:3])
    more = f" and {len(samples) - 3} more" if len(samples) > 3 else ""
    return f"{human_count(len(samples), 'sample')}: {shown}{more}"
