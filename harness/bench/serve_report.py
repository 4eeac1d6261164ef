"""Reports on workloads: which way serves most requests in time, and what it costs in accuracy."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from encodeonce.harness.bench.adapters.serve_tables import adapters_section
from encodeonce.harness.bench.cells import ABSENT
from encodeonce.harness.bench.serve_figures import all_figures
from encodeonce.harness.bench.serve_tables import beside_section, cells_section
from encodeonce.harness.report.numbers import human_bytes, human_count, number, percent, points
from encodeonce.harness.report.section import Section, Table
from encodeonce.harness.report.tiles import Tile
from encodeonce.harness.report.write import write_pages
from encodeonce.harness.serving.summary import Summary

ARRIVALS = {"constant": "at a constant rate", "poisson": "Poisson", "gamma": "Gamma-distributed"}
AXES = {"rate": "requests a second", "concurrency": "users", "speed": "times the trace's speed"}


def sections(summary: Summary) -> list[Section]:
    """Return the report's sections."""
    comparable, apart = _told_apart(summary)
    found = [_best(summary, comparable, "What each way bears")]
    for name in apart:
        why = _experiment(summary, name)["not_comparable"]
        found.append(_best(summary, [name], f"Not comparable: {name}", why))
    if summary["beside"] is not None:
        found.append(beside_section(summary))
    if summary["adapters"] is not None:
        found.insert(0, adapters_section(summary))
    found.append(_conditions(summary))
    for cap in sorted({cell["kv_bytes"] for cell in summary["cells"]}):
        found.append(cells_section(summary, cap))
    return found


def headline(summary: Summary) -> Iterator[str]:
    """Yield the lines that the command ends with: under each cap, the best way."""
    comparable, _ = _told_apart(summary)
    slo = summary["slo"]
    for cap in sorted({one["kv_bytes"] for one in summary["best"]}):
        mine = [
            one
            for one in summary["best"]
            if one["kv_bytes"] == cap and one["experiment"] in comparable
        ]
        is_scored = any(_what_is_scored(summary))
        parts = [
            f"{one['experiment']} {_load(one)}"
            + (f" ({_accuracy(summary, one)})" if is_scored else "")
            for one in mine
        ]
        if parts:
            yield (
                f"{human_bytes(cap)} of KV, {percent(slo['attain'])} within TTFT {slo['ttft_s']:g} "
                f"s and TPOT {1e3 * slo['tpot_s']:g} ms, {AXES[summary['axis']]}"
                f"{' (accuracy)' if is_scored else ''}: {', '.join(parts)}"
            )


def _what_is_scored(summary: Summary) -> Iterator[str]:
    """Say what accuracies are of; nothing where no answer means anything."""
    if any(one["quality"]["accuracy"] is not None for one in summary["experiments"]):
        yield (
            f"Accuracy is that of {summary['num_samples']} samples, answered to their own ends, "
            f"with the paired difference to {summary['baseline']}, in points, and its 95 % "
            "interval clustered by media."
        )


def tiles(summary: Summary) -> Iterator[Tile]:
    """Yield the key figures: under each cap, the highest load, and who bears it."""
    comparable, _ = _told_apart(summary)

    def rank(one: Summary) -> tuple[float, float]:
        accuracy = _experiment(summary, one["experiment"])["quality"]["accuracy"]
        return (one["load"], accuracy["mean"] if accuracy else 0.0)

    for cap in sorted({one["kv_bytes"] for one in summary["best"]}):
        mine = [
            one
            for one in summary["best"]
            if one["kv_bytes"] == cap and one["experiment"] in comparable and one["load"]
        ]
        best = sorted(mine, key=rank)[-1:]
        for one in mine[:1] if mine[:1] == best else [*mine[:1], *best]:
            yield Tile(
                label=f"{one['experiment']}, {human_bytes(cap)}",
                value=f"{_load(one)} {'/s' if summary['axis'] == 'rate' else ''}".strip(),
                words=f"accuracy {_accuracy(summary, one)}",
            )


def write_serve_report(folder: Path, summary: Summary) -> list[Path]:
    """Write report.md, report.json, report.html and the figures; return the pages.

    Raises:
        OutputError: a file cannot be written.
    """
    parts = sections(summary)
    return write_pages(
        folder,
        f"encodeonce bench serve: {summary['model']}",
        parts,
        tiles=list(tiles(summary)),
        figures=all_figures(summary),
        data=summary,
        num_first=sum(not section.is_detail for section in parts),
    )


def _told_apart(summary: Summary) -> tuple[list[str], list[str]]:
    """Return the names of the experiments that can be compared, and of the others."""
    every = summary["experiments"]
    comparable = [one["name"] for one in every if one["not_comparable"] is None]
    return comparable, [one["name"] for one in every if one["not_comparable"] is not None]


def _experiment(summary: Summary, name: str) -> Summary:
    found: Summary = next(one for one in summary["experiments"] if one["name"] == name)
    return found


def _best(summary: Summary, names: Sequence[str], title: str, why: str = "") -> Section:
    caps = sorted({one["kv_bytes"] for one in summary["best"] if one["experiment"] in names})
    best = {(one["experiment"], one["kv_bytes"]): one for one in summary["best"]}
    rows = []
    has_kl = any(_kl(_experiment(summary, name)["quality"]) is not None for name in names)
    for name in names:
        quality = _experiment(summary, name)["quality"]
        loads = [_load(best[name, cap]) if (name, cap) in best else ABSENT for cap in caps]
        most = [
            number(best[name, cap]["most_goodput"], ".2f") if (name, cap) in best else ABSENT
            for cap in caps
        ]
        kl = (number(_kl(quality), ".3f"),) if has_kl else ()
        rows.append((name, *_quality(quality), *kl, *loads, *most))
    heads = [f"load at {human_bytes(cap)}" for cap in caps]
    heads += [f"goodput at {human_bytes(cap)}" for cap in caps]
    slo = summary["slo"]
    sentences = [
        f"Load: the highest of those tried, in {AXES[summary['axis']]}, at which "
        f"{percent(slo['attain'])} of the requests have their first token within {slo['ttft_s']:g} "
        f"s and further ones every {1e3 * slo['tpot_s']:g} ms on average, as they have at all "
        "lighter ones; ≥ where nothing heavier was tried. Goodput: the most requests a second that "
        "met both, at any load.",
        *_what_is_scored(summary),
    ]
    return Section(
        title=title,
        table=Table(
            columns=("", "accuracy", "difference", "kept", *(["KL"] if has_kl else []), *heads),
            rows=tuple(rows),
        ),
        sentences=tuple([why, *sentences[:1]] if why else sentences),
    )


def _kl(quality: Summary) -> float | None:
    """Return the mean KL of the full cache's answers, nats, where it was measured."""
    fidelity = quality["fidelity"]
    found: float | None = None if fidelity is None else fidelity["mean_kl"]
    return found


def _quality(quality: Summary) -> tuple[str, str, str]:
    accuracy, difference = quality["accuracy"], quality["difference"]
    return (
        ABSENT if accuracy is None else percent(accuracy["mean"], 1),
        ABSENT
        if difference is None
        else f"{points(difference['mean'])} ({points(difference['low'])} to "
        f"{points(difference['high'])})",
        percent(quality["kept"], 1),
    )


def _conditions(summary: Summary) -> Section:
    """Say what was served, and how."""
    arrivals, limits, lengths = summary["arrivals"], summary["limits"], summary["output_tokens"]
    kind = ARRIVALS.get(arrivals["kind"], arrivals["kind"])
    length = {
        "natural": "as long as the model makes them",
        "trace": "as long as the trace says",
    }.get(lengths["kind"], f"{lengths.get('tokens')} tokens long each")
    count = arrivals["requests"] or "all"
    bullets = [
        f"Arrivals: {kind}, {count} requests, of which the first {arrivals['warmup']} count for no "
        f"figure; answers {length}. All experiments get the same requests.",
        f"Limits: {human_count(limits['max_running'], 'request')} at once, "
        f"{human_count(limits['prefill_requests'], 'prompt')} and "
        f"{limits['prefill_tokens']} tokens a prefill.",
        "One action at a time: encoding, prefill, compression and decode steps do not overlap, and "
        "a prompt is not split. The longest gap between two tokens is a prompt's prefill; what "
        "splitting it could save is ITL p99 less p50.",
        "A time to first token contains queueing, features "
        + ("from the tower" if summary["features"] == "encode" else "from the store")
        + ", and prefill; the first token is the uncompressed prefill's, except where the media "
        "are compressed before the question is read.",
    ]
    if summary["time"] == "virtual":
        bullets.append(
            "Seconds are computed from measured costs, not taken from a clock. Bytes are what is "
            "reserved: whole prompts until they are compressed."
        )
    bullets += summary["warnings"]
    cells = summary["cells"]
    for key, words in (
        ("num_short", "requests of the trace are shorter than their sample, whose length counts"),
        ("num_fewer_media", "requests of the trace have more images than any sample"),
    ):
        if (most := max(cell[key] for cell in cells)) > 0:
            bullets.append(f"{most} {words}.")
    for sample, reason in list(summary["left_out"].items())[:5]:
        bullets.append(f"Left out: {sample}: {reason}.")
    if len(summary["left_out"]) > 5:
        bullets.append(f"Left out in all: {len(summary['left_out'])} samples.")
    return Section(title="What was served", bullets=tuple(bullets))


def _load(one: Summary) -> str:
    if one["load"] is None:
        return "none"
    return f"{'≥ ' if one['is_highest_tried'] else ''}{one['load']:g}"


def _accuracy(summary: Summary, one: Any) -> str:
    accuracy = _experiment(summary, one["experiment"])["quality"]["accuracy"]
    return "no score" if accuracy is None else percent(accuracy["mean"], 1)
