"""Scores to summarise."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from encodeonce.datasets.sample import Scored


def scored(tag: str, values: Mapping[str, list[float]]) -> list[Scored]:
    """Return answers with these scores, by the value of a tag; nothing else is known of them."""
    blank: dict[str, Any] = {field.name: "" for field in fields(Scored)}
    return [
        Scored(**{**blank, "tags": {tag: name}, "value": value})
        for name, scores in values.items()
        for value in scores
    ]
