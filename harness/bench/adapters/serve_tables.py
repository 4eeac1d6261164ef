"""Tables of a workload under several adapters."""

from encodeonce.harness.bench.cells import ABSENT
from encodeonce.harness.report.numbers import human_bytes, human_count, percent
from encodeonce.harness.report.section import Section, Table
from encodeonce.harness.serving.summary import Summary

WITHIN = 1.05
"""How much slower a token may be than under the best policy without being called behind."""
_NAMED = 8
"""Adapters whose accuracy is listed."""


def adapters_section(summary: Summary) -> Section:
    """Return how each policy served several adapters."""
    rows = [_row(cell, _policies(summary)) for cell in summary["cells"]]
    adapters = summary["adapters"]
    what = "random, all different, so nothing is scored" if adapters["random"] else "real"
    return Section(
        title=f"Under {human_count(adapters['number'], 'adapter')}",
        table=Table(
            columns=(
                "",
                "policy",
                "load",
                "KV MiB",
                "ms a token",
                "ms an output token",
                "first in 6 s",
                "satisfied",
                "switches",
                "merged",
                "mixed",
            ),
            rows=tuple(rows),
            num_words=2,
        ),
        sentences=(
            f"{_how_requests_fall(adapters['skew'])}; adapters are {what}.",
            f"Policies are those of the papers on this engine{_times(summary)}: no figure of the "
            "systems themselves.",
            "A token: the mean time of a request over its mean number of tokens, picture included. "
            "Satisfied: mean of 1 - (TTFT / 6 s)². Merged, mixed: share of the time with an "
            "adapter in the weights.",
            *_where_valora_stands(summary),
            *_same_answers(summary),
            *_accuracies(summary),
        ),
    )


def _times(summary: Summary) -> str:
    return " and its costs" if summary["time"] == "virtual" else ", by the clock"


def _how_requests_fall(skew: Summary) -> str:
    if skew["kind"] == "trace_column":
        return f"Requests are under what the trace's column {skew['column']} says"
    if skew["kind"] != "hot":
        name = {"zipf": "Zipf's law", "power": "S-LoRA's power law"}[skew["kind"]]
        return f"Requests fall on adapters by {name} with exponent {skew['a']:g}"
    if not skew["s"]:
        return "Requests fall evenly on adapters"
    which = ", the first in time," if skew["clustered"] else ""
    return (
        f"{percent(skew['s'])} of the requests{which} fall on the first adapter, and the others "
        "evenly on all"
    )


def _same_answers(summary: Summary) -> list[str]:
    """Say how many answers are those that every adapter gives alone, beside the weights."""
    counts: dict[str, list[int]] = {}
    for cell in summary["cells"]:
        if (same := cell["same_tokens"]) is not None:
            mine = counts.setdefault(cell["experiment"], [0, 0])
            mine[0] += same["num_same"]
            mine[1] += same["num_compared"]
    if not counts:
        return []
    words = ", ".join(f"{name} {same} of {total}" for name, (same, total) in counts.items())
    return [
        "Answers with the tokens of the offline engine, which has adapters beside the weights, as "
        f"far as both go: {words}."
    ]


def _policies(summary: Summary) -> dict[str, str]:
    return {one["name"]: one["policy"] for one in summary["experiments"]}


def _row(cell: Summary, policies: dict[str, str]) -> tuple[str, ...]:
    found, total_s = cell["adapters"], cell["ended_s"]
    shares = [
        percent(cell[key] / total_s) if total_s else ABSENT for key in ("merged_s", "mixed_s")
    ]
    return (
        cell["experiment"],
        policies[cell["experiment"]],
        f"{cell['load']:g}",
        f"{cell['kv_bytes'] / 2**20:g}",
        f"{1e3 * found['token_s']:.3g}",
        f"{1e3 * found['output_token_s']:.3g}",
        percent(found["first_attainment"], 1),
        f"{found['satisfaction']:.3f}",
        str(cell["num_switches"]),
        *shares,
    )


def _where_valora_stands(summary: Summary) -> list[str]:
    """Say at which cells VaLoRA's policy is slower a token than another one, and by how much."""
    policies = _policies(summary)
    lost, count = [], 0
    for at in dict.fromkeys((cell["kv_bytes"], cell["load"]) for cell in summary["cells"]):
        token_s = {
            policies[cell["experiment"]]: cell["adapters"]["token_s"]
            for cell in summary["cells"]
            if (cell["kv_bytes"], cell["load"]) == at
        }
        mine = token_s.pop("valora", None)
        if mine is None or not token_s:
            return []
        count += 1
        best = min(token_s, key=lambda name: token_s[name])
        if mine > WITHIN * token_s[best]:
            more = percent(mine / token_s[best] - 1)
            lost.append(f"at load {at[1]:g} under {human_bytes(at[0])} {more} behind {best}")
    cells = human_count(count, "cell")
    if not lost:
        return [f"valora is within {percent(WITHIN - 1)} of the best at all of {cells}, a token."]
    return [f"valora loses at {len(lost)} of {cells}, a token: {'; '.join(lost)}."]


def _accuracies(summary: Summary) -> list[str]:
    """Return a sentence for each variant whose adapters are scored: its first experiment's."""
    found = []
    by_variant = {one["variant"]: one for one in reversed(summary["experiments"])}
    for one in reversed(by_variant.values()):
        by_adapter = [
            f"{title} {percent(accuracy['mean'], 1)}"
            for title, accuracy in one["accuracy_by_adapter"].items()
            if accuracy is not None
        ]
        if by_adapter:
            more = f" and {len(by_adapter) - _NAMED} more" if len(by_adapter) > _NAMED else ""
            found.append(
                f"Accuracy by adapter, {one['name']}: {', '.join(by_adapter[:_NAMED])}{more}."
            )
    return found
