"""Reads the runs, or variants of runs, that are compared."""

from pathlib import Path

from encodeonce.harness.results.compare import CompareError, Side
from encodeonce.harness.results.summary import summarize_precompute
from encodeonce.harness.run.after.verdict import read_verdicts, standing
from encodeonce.harness.run.folder import RunFolder


def read_side(text: str) -> Side:
    """Read the run or variant that ``FOLDER`` or ``FOLDER:VARIANT`` names.

    Raises:
        CompareError: the folder has no answers, or none of this variant.
        DamagedFile: its verdicts cannot be read.
        RunFolderError: there is no run in the folder.
    """
    path, variant = _split(text)
    folder = RunFolder(path)
    run = folder.description()
    every = folder.records("records")
    if not every:
        raise CompareError(f"{path} has no answers yet; run `encodeonce eval` first")
    records = [record for record in every if variant in (None, record.variant)]
    if variant is not None:
        known = dict.fromkeys(record.variant for record in every)
        if not records:
            raise CompareError(
                f"{path} has no answers of the variant {variant!r}; it has {', '.join(known)}"
            )
    journal = folder.precompute_outcomes()
    return Side(
        name=text,
        run=run,
        records=tuple(records),
        precompute=summarize_precompute(journal) if journal else None,
        others=tuple(record for record in every if variant not in (None, record.variant)),
        verdicts=standing(read_verdicts(path), records),
    )


def _split(text: str) -> tuple[Path, str | None]:
    """Split at the last colon that follows a folder's name; both names may contain colons."""
    if Path(text).is_dir():
        return Path(text), None
    at = text.rfind(":")
    while at > 0:
        if Path(text[:at]).is_dir():
            return Path(text[:at]), text[at + 1 :]
        at = text.rfind(":", 0, at)
    return Path(text), None
