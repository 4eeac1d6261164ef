"""Keys of a run file by their names in earlier versions."""

from collections.abc import Mapping
from typing import Any

RENAMED = {"decoder": "video_backend"}
"""Keys by their names in earlier versions, which run files and run folders may still use."""

NAMES_IN_FINGERPRINTS = {new: old for old, new in RENAMED.items()}
"""A fingerprint hashes names too: with a new name, no run folder on disk could be resumed."""


def under_new_names(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of a run file with the old names in `RENAMED` replaced.

    Raises:
        ValueError: a key is given under both names.
    """
    for old, new in RENAMED.items():
        if old in content and new in content:
            raise ValueError(f"{old} is the old name of {new}: keep {new} and remove {old}")
    return {RENAMED.get(name, name): value for name, value in content.items()}


def list_old_names(schema: dict[str, Any]) -> None:
    """Let a JSON schema allow the old names, so that editors do not flag them."""
    for old, new in RENAMED.items():
        if new in schema["properties"]:
            described = {**schema["properties"][new], "title": old}
            described |= {"description": f"Old name of {new}.", "deprecated": True}
            described.pop("default", None)
            schema["properties"][old] = described
