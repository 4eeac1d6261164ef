"""Paths in a store (`FORMAT.md` describes them for programs in other languages)."""

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from encodeonce.cache_store.durable import explain, make_folder, publish_first
from encodeonce.cache_store.signature import Signature, canonical_json
from encodeonce.cache_store.store import StoreError

FORMAT = 1
FEATURES = frozenset({"raw", "zstd", "int8 channel-centre-scale token-absmax 1"})
"""What this program can read. A store or pack that requires anything else is refused."""

PACKS_IN = "packs in "
"""How a folder's header says that its packs are in object storage: then the URL."""

DIGEST = re.compile(r"[0-9a-f]{64}")
PACK_ID = re.compile(r"[0-9a-f]{32}")
RECORDS_A_FOLDER = 1000


@dataclass(frozen=True, slots=True)
class Namespace:
    """Folder of one signature."""

    folder: Path

    @property
    def digest(self) -> str:
        """Digest of the signature."""
        return self.folder.name

    @property
    def signature_file(self) -> Path:
        """The signature's canonical JSON: its SHA-256 is the folder's name."""
        return self.folder / "signature.json"

    @property
    def packs(self) -> Path:
        """Folder of the packs."""
        return self.folder / "packs"

    @property
    def log(self) -> Path:
        """Folder of the commit records."""
        return self.folder / "log"

    @property
    def snapshots(self) -> Path:
        """Folder of the index snapshots."""
        return self.folder / "snapshots"

    @property
    def tmp(self) -> Path:
        """Folder of what is being written."""
        return self.folder / "tmp"

    @property
    def quarantine(self) -> Path:
        """Folder of damaged files, kept for whoever looks for the cause."""
        return self.folder / "quarantine"

    @property
    def claims(self) -> Path:
        """Folder of the claims of running writers."""
        return self.folder / "claims"

    def pack(self, pack_id: str) -> Path:
        """Path of a pack."""
        return self.packs / pack_id[:2] / f"{pack_id}.h5"

    def used(self, pack_id: str) -> Path:
        """Path of the empty file whose mtime tells when a pack was last used."""
        return self.folder / "used" / pack_id[:2] / pack_id

    def record(self, seq: int) -> Path:
        """Path of the commit record number ``seq``, from 1."""
        return self.log / f"{seq // RECORDS_A_FOLDER:06d}" / f"{seq:09d}.json"

    def stored_packs(self) -> Iterator[str]:
        """Iterate over the ids of the pack files that exist, committed or not."""
        for path in sorted(self.packs.glob("??/*.h5")):
            if PACK_ID.fullmatch(path.stem):
                yield path.stem

    def read_signature(self) -> dict[str, object]:
        """Return the signature's fields.

        Raises:
            StoreError: the file is missing or not what its folder's name says.
        """
        try:
            text = self.signature_file.read_bytes()
        except OSError as error:
            raise explain(error, "reading", self.signature_file) from error
        if hashlib.sha256(text).hexdigest() != self.digest:
            raise StoreError(f"{self.signature_file} is damaged: its digest is not {self.digest}")
        fields: dict[str, object] = json.loads(text)
        return fields


@dataclass(frozen=True, slots=True)
class StoreFolder:
    """Root folder of a store."""

    root: Path

    @property
    def header(self) -> Path:
        """The file that makes a folder a store."""
        return self.root / "store.json"

    def exists(self) -> bool:
        """Say whether a store is here.

        Raises:
            StoreError: there is one, in a format that this program does not read.
        """
        try:
            text = self.header.read_bytes()
        except FileNotFoundError:
            return False
        except OSError as error:
            raise explain(error, "reading", self.header) from error
        check_header(text, self.header)
        return True

    def require(self) -> None:
        """Check that a store is here.

        Raises:
            StoreError: there is none, or it is in an unknown format.
        """
        if not self.exists():
            raise StoreError(
                f"no feature store at {self.root} (no {self.header.name} there); "
                "check the path, or make one with `encodeonce precompute`"
            )

    def create(self) -> None:
        """Make the store's header unless it exists.

        Raises:
            StoreError: the folder cannot be written, or holds an unknown format.
        """
        if self.exists():
            return
        try:
            make_folder(self.root)
            publish_first(self.header_text().encode(), self.header, self.root)
        except OSError as error:
            raise explain(error, "making a store in", self.root) from error

    def header_text(self) -> str:
        """Return what a new store's header says."""
        return header_text()

    def namespace(self, digest: str) -> Namespace:
        """Return the folder of a signature's features, which may not exist yet."""
        return Namespace(self.root / "ns" / digest)

    def create_namespace(self, signature: Signature) -> Namespace:
        """Make the folders of a signature unless they exist.

        Raises:
            StoreError: the store cannot be written.
        """
        self.create()
        namespace = self.namespace(signature.digest)
        try:
            for folder in (namespace.tmp, namespace.packs, namespace.log, namespace.snapshots):
                make_folder(folder)
            if not namespace.signature_file.exists():
                text = canonical_json(signature.to_dict()).encode()
                publish_first(text, namespace.signature_file, namespace.tmp)
        except OSError as error:
            raise explain(error, "making", namespace.folder) from error
        return namespace

    def namespaces(self) -> list[Namespace]:
        """Return the namespaces that exist."""
        folder = self.root / "ns"
        if not folder.is_dir():
            return []
        found = sorted(path for path in folder.iterdir() if DIGEST.fullmatch(path.name))
        return [Namespace(path) for path in found]


def store_folder(path: Path) -> StoreFolder:
    """Return the store in a folder: run files name the folder above the store itself.

    Raises:
        StoreError: it is in an unknown format.
    """
    is_store = StoreFolder(path).exists()
    inner = StoreFolder(path / "features")
    return inner if not is_store and inner.exists() else StoreFolder(path)


def check_header(text: bytes, where: Path) -> None:
    """Check what a store's header says.

    Raises:
        StoreError: the store is in an unknown format.
    """
    try:
        header = json.loads(text)
        format_, requires = header["format"], header["requires"]
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(
            f"{where} is damaged ({error}); put this line there again: {header_text()}"
        ) from error
    refuse_unknown(format_, requires, where)


def refuse_unknown(format_: object, requires: object, where: Path) -> None:
    """Refuse what a newer program wrote and this one would misread.

    Raises:
        StoreError: it is of another format, or requires a feature that is unknown here.
    """
    if format_ != FORMAT:
        raise StoreError(
            f"{where} has format {format_}, this program reads format {FORMAT}: "
            "use the version of encodeonce that wrote it"
        )
    unknown = set(requires if isinstance(requires, list) else [requires]) - FEATURES
    if elsewhere := [one for one in unknown if str(one).startswith(PACKS_IN)]:
        raise StoreError(
            f"{where.parent} is only a copy of a log; the store has its {elsewhere[0]}: "
            "name that URL instead"
        )
    if unknown:
        raise StoreError(
            f"{where} requires {sorted(map(str, unknown))}, this program knows "
            f"{sorted(FEATURES)}: use a newer version of encodeonce"
        )


def header_text(*requires: str) -> str:
    """Return what the header of a store says that requires some features."""
    return canonical_json({"format": FORMAT, "requires": list(requires)})
