"""Check one pack against its record, at the speed of the disk: nothing is decompressed."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from encodeonce.cache_store.codec import DamagedChunk
from encodeonce.cache_store.log import PackRecord
from encodeonce.cache_store.manifest import Manifest, Part
from encodeonce.cache_store.pack import structure_digest
from encodeonce.cache_store.reading import ChunkReader, PackFile

WINDOW_BYTES = 128 * 2**20
"""What is fetched of a pack before it is checked, where packs are not on a disk."""


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


@dataclass(frozen=True, slots=True)
class _Chunk:
    """One chunk to be checked."""

    start: int
    end: int
    row: int
    """Of the pack."""
    array: str
    part: Part
    part_row: int


def scrub(
    file: PackFile, record: PackRecord, on_bytes: Callable[[int], None] = lambda num_bytes: None
) -> ScrubResult:
    """Read all of a pack, and compare its checksums.

    Args:
        file: the pack.
        record: says what it should be.
        on_bytes: called with the number of bytes that were just checked.

    Raises:
        OSError, StoreError: the file cannot be read, for other reasons than damage.
    """
    reader = ChunkReader()
    damaged: dict[int, str] = {}
    for window in _windows(_chunks(record.manifest)):
        fetched = file.ahead([(chunk.start, chunk.end) for chunk in window])
        for chunk in window:
            try:
                on_bytes(len(reader.read_stored(fetched, chunk.part, chunk.part_row)))
            except DamagedChunk as error:
                damaged[chunk.row] = f"{chunk.array}: {error}"
    try:
        is_whole = structure_digest(file, record.manifest) == record.structure
    except DamagedChunk:
        is_whole = False
    return ScrubResult(
        damaged, "" if is_whole else "the HDF5 structure around the chunks is damaged"
    )


def vanished(record: PackRecord) -> ScrubResult:
    """Return what is wrong with a pack that is not there."""
    return ScrubResult(dict.fromkeys(range(record.manifest.num_rows), "its file has vanished"))


def _chunks(manifest: Manifest) -> list[_Chunk]:
    """Return all chunks of a pack, in the order of the file."""
    found, first_row = [], 0
    for table in manifest.tables:
        for array in table.arrays:
            for part in array.parts:
                for row, (offset, size, _) in enumerate(part.chunks.tolist()):
                    place = offset, offset + size, first_row + row
                    found.append(_Chunk(*place, array.name, part, row))
        first_row += table.num_rows
    return sorted(found, key=lambda chunk: chunk.start)


def _windows(chunks: Sequence[_Chunk]) -> Iterator[list[_Chunk]]:
    """Cut chunks into runs of at most `WINDOW_BYTES`."""
    window: list[_Chunk] = []
    for chunk in chunks:
        if window and chunk.end - window[0].start > WINDOW_BYTES:
            yield window
            window = []
        window.append(chunk)
    if window:
        yield window
