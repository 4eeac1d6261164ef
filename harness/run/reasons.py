"""Says why features are missing, where precompute tried to encode them and could not."""

from collections.abc import Mapping
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
    record: Mapping[str, Any], group: MediaGroup, unusable: Mapping[str, str]
) -> dict[str, Any]:
    """Return a record; where features were missing, the error says why.

    Args:
        record: as JSON values.
        group: the media that the record is about.
        unusable: why precompute failed on media, by `media_item`.
    """
    items = dict.fromkeys(media_item(group.root, ref) for ref in group.media)
    reasons = [f"{item}: {unusable[item]}" for item in items if item in unusable]
    error = record["error"]
    if error is None or error["type"] != MissingFeatures.__name__ or not reasons:
        return dict(record)
    message = f"{error['message']}; precompute failed on {'; '.join(reasons)}"
    return {**record, "error": asdict(SampleError(type=error["type"], message=message))}
