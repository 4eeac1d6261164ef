"""What two runs, or variants of runs, differ in: configuration, files and software."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from encodeonce.harness.results.summary import Summary
from encodeonce.harness.run.config import CHANGES_NO_ANSWER
from encodeonce.harness.run.old_names import under_new_names
from encodeonce.harness.run.variant import VARIANTS, Variant, adapters_in


def changed_fields(
    first: Mapping[str, Any], second: Mapping[str, Any], pairs: Sequence[tuple[str, str]]
) -> tuple[list[Summary], list[Summary]]:
    """Return the fields that differ: those that can change an answer, and the others.

    Args:
        first: content of run.json.
        second: of the other.
        pairs: names of the variants that are compared with each other.
    """
    fields = [dict(_fields_of(run, pairs, side)) for side, run in enumerate((first, second))]
    changed: list[Summary] = []
    unimportant: list[Summary] = []
    for name in dict.fromkeys((*fields[0], *fields[1])):
        values = [side.get(name) for side in fields]
        if values[0] != values[1]:
            is_important = name.split(".")[0] not in CHANGES_NO_ANSWER and name != "model.device"
            (changed if is_important else unimportant).append({"field": name, "values": values})
    return changed, unimportant


def _fields_of(
    run: Mapping[str, Any], pairs: Sequence[tuple[str, str]], side: int
) -> Iterator[tuple[str, Any]]:
    """Yield a run's configuration, digests and software, and those of the one variant."""
    config = under_new_names(run["config"])
    yield from _flat({name: part for name, part in config.items() if name not in VARIANTS}, "")
    for name in VARIANTS:
        # Where a variant stands in its list means nothing, and its fields are told below.
        yield name, sorted(run.get("variants", {}).get(name, ()))
    for name in ("checkpoint files", "questions"):
        yield name, run["identity"].get(name)
    yield from _flat(run["versions"], "software.")
    adapters = adapters_in(run.get("variants", {}))
    yield from _fields_of_variants(run, [Variant.parse(pair[side], adapters) for pair in pairs])


def _fields_of_variants(
    run: Mapping[str, Any], variants: Sequence[Variant]
) -> Iterator[tuple[str, Any]]:
    """Yield what the names of the compared variants mean."""
    for kind in VARIANTS:
        meanings = run.get("variants", {}).get(kind, {})
        attribute = kind.removesuffix("s") if kind == "adapters" else kind
        titles = dict.fromkeys(filter(None, (getattr(one, attribute) for one in variants)))
        for title in titles:
            name = f"variant {kind}"
            if len(variants) == 1:
                yield name, title
            else:
                name = f"{name} {title}"
            yield from _flat(meanings.get(title, {}), f"{name}.")


def _flat(value: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    """Yield the leaves of nested mappings and lists under dotted names."""
    if isinstance(value, Mapping):
        for name, part in value.items():
            yield from _flat(part, f"{prefix}{name}.")
    elif isinstance(value, list):
        for number, part in enumerate(value):
            yield from _flat(part, f"{prefix}{number}.")
    else:
        yield prefix.removesuffix("."), value
