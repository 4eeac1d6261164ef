"""Trains ccm on prose and prints its tables of docs/measurements.md: ``make real-compressors``."""

import argparse
import hashlib
import json
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest

from encodeonce.models.kv.spec import FULL, KVSpec
from tests.real.equal_bytes import Judged, Prefilled, at_bytes, selections, shown_selection
from tests.real.merging import form, is_trained, train, untrained
from tests.real.needles import rise
from tests.real.passages import Parts, ProseLessons, Read, parts
from tests.real.smollm2 import TextDecoder, write_checkpoint
from tests.real.tables import interval, machine, markdown, say

FULL_INT4 = KVSpec(method="full", precision="int4")
CCM, MEAN, ALL_INT4 = "ccm", "mean of each group, untrained", "full, int4"


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A number of bytes: those of a compressor's cache."""

    factor: int
    precision: str
    bytes: float
    """Fraction of the full cache's, in the model's precision."""

    @property
    def title(self) -> str:
        """What stands above it."""
        precision = "" if self.precision == "model" else f"+{self.precision}"
        return f"{100 * self.bytes:.2f} % (ccm@{self.factor}{precision})"


Settings = Mapping[tuple[str, Column], KVSpec]
"""By row and column of the tables."""
Table = Mapping[tuple[str, Column], Sequence[Judged]]
"""The held-out passages by row and column."""


def main() -> None:
    """Train, measure, and print Markdown."""
    args = _arguments()
    with ExitStack() as stack:
        folder = args.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        try:
            decoder = TextDecoder(_checkpoint(folder / "model"))
            num_tokens = args.before + args.after + 1
            counts = (args.passages, args.validation, args.held_out)
            prose = parts(decoder, num_tokens, *counts)
            say(machine())
            model = decoder.model.requires_grad_(requires_grad=False)
            folders = train_all(model, prose, folder, args)
        except (ValueError, OSError, pytest.skip.Exception) as error:
            raise SystemExit(f"python -m tests.real.compressors: error: {error}") from None
        means = {
            factor: untrained(folder / f"mean-{factor}", model, form(factor)) for factor in folders
        }
        first = Prefilled(model, prose.held_out[0], args.before)
        settings = settings_at_equal_bytes(first, folders, means)
        notes = folder / "passages.jsonl"
        say(*tables(*measure(model, prose.held_out, args.before, settings, notes)))


def _checkpoint(folder: Path) -> Path:
    """Return the model's folder, written if it has not been."""
    if not (folder / "tokenizer.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_checkpoint(folder)
    return folder


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.real.compressors", description=__doc__)
    parser.add_argument("--factors", type=int, nargs="+", default=[4, 8, 16], help="[4 8 16]")
    parser.add_argument(
        "--minutes", type=float, default=9.0, help="of processor time, for each factor [9]"
    )
    parser.add_argument("--passages", type=int, default=64, help="to train on [64]")
    parser.add_argument("--validation", type=int, default=6, help="passages for it [6]")
    parser.add_argument("--held-out", type=int, default=24, help="passages to report [24]")
    parser.add_argument("--before", type=int, default=512, help="tokens that are compressed [512]")
    parser.add_argument("--after", type=int, default=64, help="tokens read behind them [64]")
    parser.add_argument(
        "--folder", type=Path, help="keeps everything; the same command goes on where it ended"
    )
    args = parser.parse_args()
    least = {"passages": 1, "validation": 1, "held_out": 2, "before": 64, "after": 1}
    for name, number in least.items():
        if getattr(args, name) < number:
            option = name.replace("_", "-")
            parser.error(f"--{option} must be {number} or more; got {getattr(args, name)}")
    most = args.before // 4
    if not all(2 <= factor <= most for factor in args.factors):
        parser.error(f"--factors must be from 2 to a quarter of --before, {most}")
    if not args.minutes > 0:
        parser.error(f"--minutes must be above 0; got {args.minutes:g}")
    return args


def train_all(model: Any, prose: Parts, folder: Path, args: Any) -> dict[int, Path]:
    """Train a compressor for each factor, and say what came of it.

    Raises:
        ValueError: the folder holds what was trained on other prose.
    """
    start = time.process_time()
    lessons = ProseLessons(model, prose.training, args.after, seed=0)
    if not all(is_trained(_output(folder, factor)) for factor in args.factors):
        for number in range(len(prose.training)):
            lessons.read(number)
    validation = [Read(model, one).lesson(args.before, args.after) for one in prose.validation]
    say(f"The full cache's part of the lessons: {time.process_time() - start:.0f} s.")
    found = {}
    for factor in args.factors:
        output, cpu_s = _output(folder, factor), 60 * args.minutes
        one = train(model, form(factor), lessons, validation, output, cpu_s=cpu_s)
        say(
            f"ccm@{factor}: {one.state.step} steps in {one.cpu_s:.0f} s of processor time; the "
            f"best is step {one.state.best_step}, with a KL of {one.kl:.3f} in validation."
        )
        found[factor] = one.folder
    return found


def _output(folder: Path, factor: int) -> Path:
    return folder / f"ccm-{factor}"


def settings_at_equal_bytes(
    prefilled: Prefilled, folders: Mapping[int, Path], means: Mapping[int, Path]
) -> Settings:
    """Return the compressors' settings, and everybody else's of as many bytes.

    Args:
        prefilled: a passage to measure bytes on.
        folders: of the compressors, by factor.
        means: of untrained ones.
    """
    found: dict[tuple[str, Column], KVSpec] = {}
    for precision in ("model", "int4"):
        for factor, folder in folders.items():
            ccm = _ccm(factor, folder, precision)
            kept = prefilled.kept(ccm)
            column = Column(factor=factor, precision=precision, bytes=kept)
            found[_row(CCM, precision), column] = ccm
            found[_row(MEAN, precision), column] = _ccm(factor, means[factor], precision)
            if prefilled.kept(FULL_INT4) <= kept:
                found[ALL_INT4, column] = FULL_INT4
            for name, options in selections():
                for stored in dict.fromkeys((precision, "int4")):
                    setting = at_bytes(prefilled, (name, options), stored, kept)
                    if setting is not None:
                        found[_row(shown_selection(name, options), stored), column] = setting
    return found


def _ccm(factor: int, folder: Path, precision: str) -> KVSpec:
    return KVSpec(
        method="ccm",
        keep=1 / factor,
        precision=precision,
        scope="media",
        options={"path": str(folder)},
    )


def _row(name: str, precision: str) -> str:
    return name if precision == "model" else f"{name} + {precision}"


def measure(
    model: Any,
    held_out: Sequence[Sequence[int]],
    num_before: int,
    settings: Settings,
    notes: Path,
) -> tuple[list[Judged], Table]:
    """Return the held-out passages under the full cache, and under all settings.

    Args:
        model: of transformers.
        held_out: the passages.
        num_before: tokens that are compressed.
        settings: of the table.
        notes: a file of what has been measured, one line a passage; what it lacks is added.
    """
    kinds = [FULL, *settings.values()]
    noted = {}
    if notes.exists():
        lines = map(json.loads, notes.read_text().splitlines())
        noted = {line["asked"]: [Judged(**one) for one in line["judged"]] for line in lines}
    rows = []
    for token_ids in held_out:
        content = json.dumps([[kind.title for kind in kinds], num_before, token_ids])
        asked = hashlib.sha256(content.encode()).hexdigest()
        if asked not in noted:
            noted[asked] = Prefilled(model, token_ids, num_before).judge(kinds)
            line = {"asked": asked, "judged": [asdict(one) for one in noted[asked]]}
            with notes.open("a") as file:
                file.write(json.dumps(line) + "\n")
        rows.append(noted[asked])
    full, *others = ([row[n] for row in rows] for n in range(len(kinds)))
    return full, dict(zip(settings, others, strict=True))


def tables(full: Sequence[Judged], table: Table) -> list[str]:
    """Return a table for each precision of the compressors, and what is best in each column."""
    columns = list(dict.fromkeys(column for _, column in table))
    found = [f"NLL over the full cache: {statistics.fmean(one.nll for one in full):.3f} a token."]
    for precision in dict.fromkeys(column.precision for column in columns):
        some = [column for column in columns if column.precision == precision]
        found.append(_table(full, table, some))
        found += [_best(table, column) for column in some]
    return found


def _table(full: Sequence[Judged], table: Table, columns: Sequence[Column]) -> str:
    rows = []
    for name in dict.fromkeys(row for row, column in table if column in columns):
        cells, rises = [name], []
        for column in columns:
            judged = table.get((name, column))
            if judged is None:
                cells.append("—")
                continue
            found = rise(_nlls(full), _nlls(judged))
            rises.append(found.mean)
            kl = statistics.fmean(one.kl for one in judged)
            cells.append(f"{interval(found, digits=3)}; {kl:.3f}")
        rows.append((len(rises) < len(columns), statistics.fmean(rises), cells))
    head = ["method", *(column.title for column in columns)]
    return markdown(head, [cells for *_, cells in sorted(rows)])


def _best(table: Table, column: Column) -> str:
    """Return how the compressor compares with the best other setting of as many bytes."""
    others = {
        name: judged
        for (name, place), judged in table.items()
        if place == column and not name.startswith((CCM, MEAN))
    }
    ccm = table[_row(CCM, column.precision), column]
    words = []
    for kind, some in {
        "of entries in the model's precision": [n for n in others if not n.endswith("int4")],
        "of int4 entries": [n for n in others if n.endswith("int4")],
    }.items():
        if some:
            best = min(some, key=lambda name: statistics.fmean(_nlls(others[name])))
            gain = interval(rise(_nlls(others[best]), _nlls(ccm)), digits=3)
            words.append(f"best {kind}: {best}, ccm's NLL minus its: {gain}")
    equal = [
        statistics.fmean(one.kept for one in judged)
        for name, judged in others.items()
        if name != ALL_INT4
    ]
    return (
        f"{column.title}: {'; '.join(words)}. The others keep {100 * min(equal):.2f} to "
        f"{100 * max(equal):.2f} %."
    )


def _nlls(judged: Sequence[Judged]) -> list[float]:
    return [one.nll for one in judged]


if __name__ == "__main__":
    main()
