"""Says why features are missing, where precompute tried to encode them and could not."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from encodeonce.cache_store.store import MissingFeatures
from encodeonce.datasets.media.media import MediaRef
from encodeonce.harness.run.plan import MediaGroup
from encodeonce.harness.run.record import SampleError


def media_item(root: Path, ref: MediaRef) -> str:
    """Return the name of a media file in precompute's journal."""
    return f"{root}/{ref.path}"


def explained(
    records: Sequence[Mapping[str, Any]], group: MediaGroup, unusable: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Return a group's records; where features were missing, the error says why.

    Args:
        records: as JSON values.
        group: the media that the records are about.
        unusable: why precompute failed on media, by `media_item`.
    """
    items = dict.fromkeys(media_item(group.root, ref) for ref in group.media)
    reasons = [f"{item}: {unusable[item]}" for item in items if item in unusable]
    return [_explained(record, reasons) for record in records]


def _explained(record: Mapping[str, Any], reasons: Sequence[str]) -> dict[str, Any]:
    error = record["error"]
    if error is None or error["type"] != MissingFeatures.__name__ or not reasons:
        return dict(record)
    message = f"{error['message']}; precompute failed on {'; '.join(reasons)}"
    return {**record, "error": asdict(SampleError(type=error["type"], message=message))}
