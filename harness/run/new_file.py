"""The text of a new run file: what is given, and every other key with its default as a comment."""

from collections.abc import Iterator, Mapping
from textwrap import wrap
from typing import Any

import yaml

from encodeonce.datasets.options import Option, options_of
from encodeonce.harness.run.config import RunConfig
from encodeonce.harness.run.old_names import RENAMED

_SHORT = {
    "weights": "[none]",
    "adapters": "[none]",
    "kv": "[full]",
    "engine": "{name: transformers}",  # its other keys are vLLM's
}
"""Defaults as people write them, whatever is in them."""


def run_file_text(content: Mapping[str, Any]) -> str:
    """Return a run file.

    Args:
        content: the keys that are given; what it lacks stands in comments, so that it can be
            filled in.
    """
    given = yaml.safe_dump(dict(content), sort_keys=False, allow_unicode=True)
    return "\n".join(
        [
            given,
            "## The other keys, with their defaults: take the sign away to change one.",
            *_comments(content),
            "",
        ]
    )


def _comments(content: Mapping[str, Any]) -> Iterator[str]:
    every = [option for option in options_of(RunConfig) if option.name not in RENAMED]
    sections = {option.name.partition(".")[0] for option in every if "." in option.name}
    for option in every:
        top, dot, key = option.name.partition(".")
        if top in content or (dot and top in _SHORT):
            continue
        if not dot:
            yield ""
        yield from (f"## {line}" for line in wrap(option.meaning, 94))
        if top in sections - set(_SHORT) and not dot:
            yield f"# {top}:"
        else:
            yield f"# {'  ' if dot else ''}{key or top}: {_default(option)}"


def _default(option: Option) -> str:
    return _SHORT.get(option.name, option.default or "...")
