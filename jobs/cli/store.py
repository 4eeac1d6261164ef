"""``encodeonce store``: maintains a feature store."""

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from encodeonce.cache_store.home import Home
from encodeonce.cache_store.maintenance.gc import GcPolicy, GcReport, gc
from encodeonce.cache_store.maintenance.place import open_home
from encodeonce.cache_store.maintenance.stat import MediaListing, SignatureStat, describe, ls, stat
from encodeonce.cache_store.maintenance.transfer import TransferReport, export_store, import_store
from encodeonce.cache_store.maintenance.verify import VerifyReport, verify
from encodeonce.harness.report.numbers import human_bytes, human_count, human_seconds
from encodeonce.harness.report.plain_console import PlainConsole, plain_text
from encodeonce.harness.report.section import Table
from encodeonce.harness.report.terminal import print_table
from encodeonce.harness.report.visible import on_one_line
from encodeonce.harness.run.sizes import parse_bytes, parse_seconds
from encodeonce.jobs.cli.progress_bar import progress_bar
from encodeonce.jobs.cli.user_errors import user_errors

store_app = typer.Typer(
    help="Maintain a feature store: list, check, clean up, export and import.",
    no_args_is_help=True,
    add_completion=False,
)
console = PlainConsole()

SHOWN = 20
"""Most lines of a list that are printed; the others are counted."""

Store = Annotated[
    str,
    typer.Argument(
        metavar="STORE",
        help="A run file's `cache.path`, or the folder `features` in it; or the URL of a store in "
        "object storage, as in `cache.remote`.",
    ),
]
Copies = Annotated[
    Path | None,
    typer.Option(
        help="For a URL: folder of the log's local copy, the `cache.path` of runs there. "
        "[default: ~/.cache/encodeonce]",
        show_default=False,
    ),
]
LISTED = ("signature", "media (sha256)", "units", "written (UTC)", "file", "made by")
"""Heads of what `ls` prints."""

Signature = Annotated[
    str, typer.Option(help="Only signatures whose digest begins with this (see `store stat`).")
]


@store_app.command("stat")
def show(store: Store, copies: Copies = None) -> None:
    """Show the contents of a store by signature, and what each signature stands for."""
    with (
        user_errors(OSError),
        progress_bar("reading the index", human_count_of("pack")) as on_progress,
    ):
        stats = stat(_shown(store, copies), on_progress)
    if not stats:
        console.print("the store is empty")
    for found in stats:
        console.print(plain_text(f"signature {found.digest[:12]}", "bold"))
        rows = (*_contents(found), *describe(found.signature))
        print_table(console, Table(columns=("", ""), rows=rows))
        console.print()


@store_app.command("ls")
def list_media(
    store: Store,
    signature: Signature = "",
    media: Annotated[
        str, typer.Option(help="Only media items whose SHA-256 begins with this.")
    ] = "",
    copies: Copies = None,
) -> None:
    """List the stored media, one line per media item and pack."""
    with user_errors(OSError):
        rows = [_listed(found) for found in ls(open_home(store, copies), signature, media)]
    if not rows:
        asked = signature or media
        console.print("nothing that matches is stored" if asked else "the store is empty")
        return
    widths = [max(len(row[n]) for row in (LISTED, *rows)) for n in range(len(LISTED) - 1)]
    for row in (LISTED, *rows):
        cells = [cell.ljust(width) for cell, width in zip(row, [*widths, 0], strict=True)]
        console.print(plain_text("  ".join(cells)), soft_wrap=True)


def _listed(found: MediaListing) -> tuple[str, ...]:
    when = datetime.fromtimestamp(found.committed_s, UTC).strftime("%Y-%m-%d %H:%M")
    made_by = dict(found.provenance)
    file = on_one_line(str(made_by.pop("file", "-")))
    words = on_one_line(", ".join(f"{key} {value}" for key, value in made_by.items()))
    return found.signature[:12], found.media, str(len(found.units)), when, file, words


@store_app.command("verify")
def check(store: Store, copies: Copies = None) -> None:
    """Read everything and compare checksums. Damaged features are no longer served.

    Exits with 1 if anything was damaged, even if it was repaired.
    """
    with user_errors(OSError), progress_bar("verifying", human_bytes) as on_progress:
        report = verify(_shown(store, copies), on_progress)
    _print_verified(report)
    if not report.clean:
        sys.exit(1)


@store_app.command("gc")
def collect(
    store: Store,
    unused_for: Annotated[
        str, typer.Option(help="Drop features not used for longer than this: 30d, 12h.")
    ] = "",
    max_size: Annotated[
        str,
        typer.Option(
            help="Drop the least recently used until the store is no larger: 500GB, 2TiB."
        ),
    ] = "",
    signature: Annotated[
        str,
        typer.Option(
            help="Only signatures whose digest begins with this. Without another rule, everything "
            "under them is dropped."
        ),
    ] = "",
    grace: Annotated[
        str, typer.Option(help="Remove files only this long after the store dropped them.")
    ] = "1h",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only print what would be dropped.")
    ] = False,
    copies: Copies = None,
) -> None:
    """Drop features and remove files to make room. Safe while jobs use the store."""
    with user_errors(OSError):
        policy = GcPolicy(
            unused_for_s=parse_seconds(unused_for) if unused_for else None,
            max_bytes=parse_bytes(max_size) if max_size else None,
            signature=signature or None,
            grace_s=parse_seconds(grace),
            dry_run=dry_run,
        )
        report = gc(_shown(store, copies), policy)
    _print_collected(report, policy)


@store_app.command("export")
def send(
    store: Store,
    target: Annotated[Path, typer.Argument(metavar="FILE.tar", help="File to write.")],
    signature: Signature = "",
    media_list: Annotated[
        Path | None,
        typer.Option(help="File with SHA-256 digests of media, one a line. [default: all media]"),
    ] = None,
    copies: Copies = None,
) -> None:
    """Write a store, or a part of it, to one file, for import on another cluster."""
    with user_errors(OSError), progress_bar("exporting", human_count_of("pack")) as on_progress:
        media = None if media_list is None else set(media_list.read_text("ascii").split())
        report = export_store(open_home(store, copies), target, signature, media, on_progress)
    _print_transferred("exported", report)


@store_app.command("import")
def receive(
    store: Store,
    source: Annotated[Path, typer.Argument(metavar="FILE.tar", help="File that `export` wrote.")],
    copies: Copies = None,
) -> None:
    """Add the contents of an export to a store; existing entries stay."""
    with user_errors(OSError), progress_bar("importing", human_count_of("pack")) as on_progress:
        report = import_store(open_home(store, copies), source, on_progress)
    _print_transferred("imported", report)


def _shown(store: str, copies: Path | None) -> Home:
    """Return a store, and say which it is: a cache may have other levels."""
    found = open_home(store, copies)
    if found.exists():
        console.print(plain_text(f"store {found.place}"), soft_wrap=True)
    return found


def human_count_of(noun: str) -> Callable[[int], str]:
    """Return a function that formats a count of something."""
    return lambda count: human_count(count, noun)


def _contents(found: SignatureStat) -> Iterator[tuple[str, str]]:
    share = f", {found.file_bytes / found.raw_bytes:.0%} of" if found.raw_bytes else ", of"
    yield "media", str(found.num_media)
    yield "units", f"{found.num_units} (frames or images, as the tower encodes them)"
    yield (
        "on disk",
        f"{human_bytes(found.file_bytes)} in {human_count(found.num_packs, 'pack')}{share} "
        f"{human_bytes(found.raw_bytes)} uncompressed",
    )
    if found.dropped_bytes:
        yield "to be freed", f"{human_bytes(found.dropped_bytes)}, by the next gc"
    if found.num_damaged:
        yield "damaged", f"{human_count(found.num_damaged, 'unit')}, to be encoded again"
    if found.worst_loss is not None:
        yield "worst error", f"{found.worst_loss:.4f} of a unit's spread (lossy codec)"
    for question, answers in found.provenance.items():
        counts = Counter(answers).most_common(SHOWN)
        shown = ", ".join(f"{answer} ({human_count(n, 'unit')})" for answer, n in counts[:3])
        more = f" and {len(answers) - 3} more" if len(answers) > 3 else ""
        yield f"by {question}", shown + more


def _print_verified(report: VerifyReport) -> None:
    console.print(
        f"verified {human_count(report.num_units, 'unit')} in "
        f"{human_count(report.num_packs, 'pack')}, {human_bytes(report.num_bytes)}",
    )
    _print_list(
        "damaged and no longer served; `encodeonce precompute` encodes them again",
        [f"{key.signature[:12]} {key.media} {key.unit}" for key in report.damaged_units],
    )
    _print_list("repaired", report.repaired)
    _print_list("could not be repaired", report.unrepaired)
    if report.num_known_damaged:
        known = human_count(report.num_known_damaged, "unit")
        console.print(f"{known} found damaged earlier, not yet encoded again")
    if report.uncommitted:
        files = human_count(len(report.uncommitted), "file")
        console.print(
            f"{files} of active or killed writers; gc removes those of killed ones",
        )
    if report.clean:
        console.print("no damage", style="green")


def _print_list(title: str, lines: list[str]) -> None:
    if not lines:
        return
    console.print(plain_text(f"{title} ({len(lines)}):", "bold red"))
    for line in lines[:SHOWN]:
        console.print(plain_text(f"  {line}"), soft_wrap=True)
    if len(lines) > SHOWN:
        console.print(f"  and {len(lines) - SHOWN} more")


def _print_collected(report: GcReport, policy: GcPolicy) -> None:
    verbs = ("would drop", "would remove") if policy.dry_run else ("dropped", "removed")
    reasons = Counter(candidate.reason for candidate in report.dropped)
    why = f" ({', '.join(f'{n} {reason}' for reason, n in reasons.items())})" if reasons else ""
    lines = [
        f"{verbs[0]} {human_count(len(report.dropped), 'pack')}, "
        f"{human_bytes(report.dropped_bytes)}{why}",
        f"{verbs[1]} {human_count(len(report.removed), 'file')}, "
        f"{human_bytes(report.removed_bytes)}",
        f"kept {human_bytes(report.kept_bytes)}",
    ]
    if report.repacked:
        lines.append(f"copied the live units of {human_count(len(report.repacked), 'pack')}")
    if report.dropped and policy.grace_s and not policy.dry_run:
        lines.append(
            f"run gc again in {human_seconds(policy.grace_s)} to remove the files of dropped packs"
        )
    for line in lines:
        console.print(line, soft_wrap=True)


def _print_transferred(verb: str, report: TransferReport) -> None:
    skipped = f", {report.num_skipped} already there" if report.num_skipped else ""
    console.print(
        f"{verb} {human_count(report.num_units, 'unit')} in "
        f"{human_count(report.num_packs, 'pack')}{skipped}; file of "
        f"{human_bytes(report.num_bytes)}",
    )
