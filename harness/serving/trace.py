"""Reads recorded arrivals: CSV files, told apart by their headers.

======================  ==================================================================
Azure LLM 2023, 2024    ``TIMESTAMP, ContextTokens, GeneratedTokens``
Azure LMM 2025          the same, and ``NumImages``
BurstGPT                ``Timestamp, Request tokens, Response tokens``, among others
======================  ==================================================================

Azure's: Patel et al., Splitwise, ISCA 2024, and github.com/Azure/AzurePublicDataset (CC BY 4.0).
BurstGPT: Wang et al., 2024, arXiv 2401.17644 (CC BY 4.0). Times are ISO 8601 or seconds.

A column of one's own may say what each request is under: a LoRA adapter, or whatever stood for one
(dLoRA and S-LoRA take the function that was called).
"""

import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

_NAMES: Mapping[str, tuple[str, ...]] = {
    "time": ("TIMESTAMP", "Timestamp"),
    "prompt": ("ContextTokens", "Request tokens"),
    "answer": ("GeneratedTokens", "Response tokens"),
    "images": ("NumImages",),
}


class TraceError(ValueError):
    """A file is not a trace that can be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceRow:
    """One recorded request."""

    arrival_s: float
    """Since the first one."""
    num_prompt_tokens: int
    num_tokens: int
    """Of the answer."""
    num_images: int = 0
    """0 where the trace does not say."""
    adapter: str | None = None
    """What the column of adapters says, where one is asked for."""

    def at(self, arrival_s: float) -> "TraceRow":
        """Return the row at another time."""
        return replace(self, arrival_s=arrival_s)


def read_trace(path: Path, adapters: str | None = None) -> list[TraceRow]:
    """Return a trace's requests. Those without an answer are left out, as BurstGPT's failures.

    Args:
        path: of the file.
        adapters: name of a column that says what each request is under.

    Raises:
        TraceError: the file cannot be read, lacks a column, holds something that is no number, its
            times decrease, or an adapter is not named; names the line.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return list(_rows(path, csv.DictReader(file), adapters))
    except OSError as error:
        raise TraceError(f"arrivals.file: {path}: {error.strerror or error}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise TraceError(f"arrivals.file: {path} is no CSV file: {error}") from error


def _rows(path: Path, lines: "csv.DictReader[str]", adapters: str | None) -> Iterator[TraceRow]:
    columns = _columns(path, lines.fieldnames or ())
    _check_column(path, lines.fieldnames or (), adapters)
    first_s = before_s = None
    for line in lines:
        where = f"arrivals.file: {path}, line {lines.line_num}"
        at_s = _seconds(line[columns["time"]], where, columns["time"])
        if before_s is not None and at_s < before_s:
            raise TraceError(
                f"{where}: {columns['time']} decreases, from {before_s:g} to {at_s:g} s; sort the "
                "file by time"
            )
        before_s = at_s
        first_s = at_s if first_s is None else first_s
        count = {
            name: _count(line[column], where, column)
            for name, column in columns.items()
            if name != "time"
        }
        if count["answer"] > 0:
            yield TraceRow(
                arrival_s=at_s - first_s,
                num_prompt_tokens=count["prompt"],
                num_tokens=count["answer"],
                num_images=count.get("images", 0),
                adapter=None if adapters is None else _named(line[adapters], where, adapters),
            )


def _check_column(path: Path, header: Sequence[str], adapters: str | None) -> None:
    if adapters is not None and adapters not in header:
        raise TraceError(
            f"arrivals.file: {path}, line 1: there is no column {adapters!r}, which "
            f"adapters.skew.column names; got {', '.join(header)}"
        )


def _named(text: str | None, where: str, column: str) -> str:
    found = (text or "").strip()
    if not found:
        raise TraceError(
            f"{where}: {column} is empty; every request is under an adapter: name one, or give "
            "adapters.skew another kind"
        )
    return found


def _columns(path: Path, header: object) -> dict[str, str]:
    """Return the columns that there are, by meaning."""
    names = [str(name) for name in header] if isinstance(header, list | tuple) else []
    found = {
        meaning: next((name for name in known if name in names), "")
        for meaning, known in _NAMES.items()
    }
    for meaning, known in _NAMES.items():
        if not found[meaning] and meaning != "images":
            raise TraceError(
                f"arrivals.file: {path}, line 1: there is no column {' or '.join(known)}; got "
                f"{', '.join(names) or 'no header'}. Allowed: the traces Azure LLM 2023 and 2024, "
                "Azure LMM 2025, BurstGPT"
            )
    return {meaning: name for meaning, name in found.items() if name}


def _seconds(text: str | None, where: str, column: str) -> float:
    """Return a time, which is ISO 8601 with any number of decimals, or seconds."""
    words = (text or "").strip()
    try:
        found = float(words)
    except ValueError:
        pass
    else:
        if math.isfinite(found):
            return found
    try:
        # Seven decimals are common there; Python reads six at most, and cuts the rest.
        moment = datetime.fromisoformat(words)
    except ValueError:
        raise TraceError(
            f"{where}: {column} must be seconds or ISO 8601, e.g. 2023-11-16 18:15:46.6805900; "
            f"got {text!r}"
        ) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return moment.timestamp()


def _count(text: str | None, where: str, column: str) -> int:
    try:
        found = float((text or "").strip())
        if found < 0 or found != int(found):
            raise ValueError
    except (ValueError, OverflowError):
        raise TraceError(
            f"{where}: {column} must be a whole number of at least 0; got {text!r}"
        ) from None
    return int(found)
