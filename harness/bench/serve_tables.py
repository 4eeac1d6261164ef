"""Tables of a workload's cells: all of them, and measured ones beside computed ones."""

from encodeonce.harness.bench.cells import ABSENT
from encodeonce.harness.report.numbers import human_bytes, number, percent
from encodeonce.harness.report.section import Section, Table
from encodeonce.harness.serving.summary import Summary


def cells_section(summary: Summary, cap: int) -> Section:
    """Return all cells under a cap."""
    rows = []
    for cell in summary["cells"]:
        if cell["kv_bytes"] == cap:
            rows.append(_cell_row(cell))
    return Section(
        title=f"All loads under {human_bytes(cap)}",
        is_detail=True,
        table=Table(
            columns=(
                "",
                "load",
                "attained",
                "goodput /s",
                "tokens/s",
                "TTFT p50 s",
                "TTFT p99 s",
                "ITL p50 ms",
                "ITL p99 ms",
                "TPOT p99 ms",
                "E2E p99 s",
                "rows",
                "peak KV",
                "preempted",
                "hits",
                "failed",
                "same tokens",
            ),
            rows=tuple(rows),
        ),
        sentences=(
            "In brackets: the queue grew until the end, so that latencies would be longer had the "
            "load gone on. Rows: mean of a decode step. Same tokens: answers equal to the offline "
            "engine's, as far as both go.",
        ),
    )


def beside_section(summary: Summary) -> Section:
    """Put what was measured beside what is computed from costs."""
    rows, ratios = [], []
    for measured, computed in zip(summary["cells"], summary["beside"], strict=True):
        cells = []
        for key, which, scale in (
            ("ttft_s", "p50", 1e3),
            ("tpot_s", "p50", 1e3),
            ("e2e_s", "p50", 1e3),
            ("e2e_s", "p99", 1e3),
        ):
            pair = [one[key][which] * scale if one[key] else None for one in (measured, computed)]
            cells.append(" / ".join(number(value, ".3g") for value in pair))
            if pair[0] and pair[1] and (key, which) == ("e2e_s", "p50"):
                ratios.append(pair[1] / pair[0])
        good = f"{measured['goodput']:.2f} / {computed['goodput']:.2f}"
        name = f"{measured['experiment']}, {human_bytes(measured['kv_bytes'])}"
        rows.append((name, f"{measured['load']:g}", *cells, good))
    columns = ("", "load", "TTFT p50 ms", "TPOT p50 ms", "E2E p50 ms", "E2E p99 ms", "goodput /s")
    sentences = ["By the clock / computed from the costs."]
    if ratios:
        sentences.append(
            f"The computed median of a request's time is {min(ratios):.2f} to {max(ratios):.2f} "
            "times the measured one."
        )
    return Section(
        title="Wall time and virtual time",
        table=Table(columns=columns, rows=tuple(rows)),
        sentences=tuple(sentences),
    )


def _cell_row(cell: Summary) -> tuple[str, ...]:
    def quantile(name: str, which: str, scale: float = 1.0) -> str:
        found = cell[name]
        if found is None:
            return ABSENT
        text = f"{scale * found[which]:.3g}"
        return f"({text})" if cell["saturated"] else text

    same = cell["same_tokens"]
    peak = human_bytes(cell["peak_reserved_bytes"])
    if cell["peak_allocated_bytes"]:
        peak += f" (allocated {human_bytes(cell['peak_allocated_bytes'])})"
    return (
        cell["experiment"],
        f"{cell['load']:g}",
        percent(cell["attainment"], 1),
        f"{cell['goodput']:.2f}",
        f"{cell['tokens_per_s']:.0f}",
        quantile("ttft_s", "p50"),
        quantile("ttft_s", "p99"),
        quantile("itl_s", "p50", 1e3),
        quantile("itl_s", "p99", 1e3),
        quantile("tpot_s", "p99", 1e3),
        quantile("e2e_s", "p99"),
        f"{cell['mean_rows']:.1f}",
        peak,
        str(cell["num_preempted"]),
        str(cell["num_hits"]),
        str(cell["num_failed"]),
        ABSENT if same is None else f"{same['num_same']} of {same['num_compared']}",
    )
