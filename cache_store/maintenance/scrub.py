"""Check one pack file against its record, at the speed of the disk: nothing is decompressed."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from encodeonce.cache_store.codec import DamagedChunk
from encodeonce.cache_store.log import PackRecord
from encodeonce.cache_store.manifest import Manifest
from encodeonce.cache_store.pack import structure_digest
from encodeonce.cache_store.reading import ChunkReader, PackFile


@dataclass(frozen=True, slots=True)
class ScrubResult:
    """What is wrong with a pack."""

    damaged_rows: dict[int, str] = field(default_factory=dict)
    """Row to reason."""
    structure: str = ""
    """What is wrong with the bytes between the chunks, which only other programs need."""

    @property
    def clean(self) -> bool:
        """Whether nothing is wrong."""
        return not self.damaged_rows and not self.structure


def scrub(
    path: Path, record: PackRecord, on_bytes: Callable[[int], None] = lambda num_bytes: None
) -> ScrubResult:
    """Read all of a pack, and compare its checksums.

    Args:
        path: the pack.
        record: says what it should be.
        on_bytes: called with the number of bytes that were just checked.

    Raises:
        OSError: the file cannot be read, for other reasons than damage or absence.
    """
    manifest = record.manifest
    try:
        file = PackFile(path)
    except FileNotFoundError:
        return ScrubResult(dict.fromkeys(range(manifest.num_rows), "its file has vanished"))
    damaged = _damaged_rows(manifest, file, on_bytes)
    structure = ""
    if structure_digest(file.descriptor, manifest, path.stat().st_size) != record.structure:
        structure = "the HDF5 structure around the chunks is damaged"
    return ScrubResult(damaged, structure)


def _damaged_rows(
    manifest: Manifest, file: PackFile, on_bytes: Callable[[int], None]
) -> dict[int, str]:
    reader = ChunkReader()
    damaged: dict[int, str] = {}
    first_row = 0
    for table in manifest.tables:
        for array in table.arrays:
            for part in array.parts:
                for row in range(table.num_rows):
                    try:
                        on_bytes(len(reader.read_stored(file, part, row)))
                    except DamagedChunk as error:
                        damaged[first_row + row] = f"{array.name}: {error}"
        first_row += table.num_rows
    return damaged
