"""The variants of a run, {weight variants} × {cache variants}, and what their names mean.

A record knows its variant by name only. What a name means is kept in run.json, so that variants
can be added to a run, and a name never means two things in one folder.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from encodeonce.models.checkpoint.files import local_checkpoint
from encodeonce.models.kv.spec import FULL, KVSpec
from encodeonce.models.spec import NONE, ModelSpec, WeightsSpec

Meanings = dict[str, dict[str, Any]]
"""By ``weights`` and ``kv``, then by title: a variant's fields, and the digests of its files."""


def variant_name(weights: WeightsSpec, kv: KVSpec) -> str:
    """Return the name of a variant in records: the weights' title, a slash, the cache's."""
    return f"{weights.title}/{kv.title}"


def split_variant(variant: str) -> tuple[str, str]:
    """Return the titles of the weights and of the cache. Only the latter may hold a slash."""
    weights, _, kv = variant.partition("/")
    return weights, kv


def check_weights_titles(specs: Sequence[WeightsSpec]) -> None:
    """Refuse weight variants that records could not tell apart.

    Raises:
        ValueError: there is none, two have the same title, or a title means something else.
    """
    _require_names([spec.title for spec in specs])
    for spec in specs:
        if "/" in spec.title:
            raise ValueError(f"{spec.title!r} has a slash in it; give the variant a 'label'")
        if (spec.title == NONE.title) != spec.is_none:
            raise ValueError(
                f"{NONE.title!r} is the name of the unchanged weights and of nothing else; "
                f"got method {spec.method!r} under {spec.title!r}: change the 'label'"
            )


def check_kv_titles(specs: Sequence[KVSpec]) -> None:
    """Refuse cache variants that records could not tell apart.

    Raises:
        ValueError: there is none, two have the same title, or a title means something else.
    """
    _require_names([spec.title for spec in specs])
    for spec in specs:
        if (spec.title == FULL.title) != spec.is_full:
            raise ValueError(
                f"{FULL.title!r} is the name of the whole cache and of nothing else; "
                f"got method {spec.method!r} under {spec.title!r}: change the 'label'"
            )


def variant_names(meanings: Meanings) -> list[str]:
    """Return the names of all variants that the titles make up."""
    return [f"{one}/{kv}" for one in meanings.get("weights", {}) for kv in meanings.get("kv", {})]


def describe_variants(
    weights: Iterable[WeightsSpec], kv: Iterable[KVSpec], sha256: Callable[[Path], str]
) -> Meanings:
    """Return what each variant's title means.

    Args:
        weights: weight variants.
        kv: cache variants.
        sha256: returns the digest of a file, or of a checkpoint's folder.
    """
    return {
        "weights": {spec.title: _meaning(spec, sha256) for spec in weights},
        "kv": {spec.title: _meaning(spec, sha256) for spec in kv},
    }


def changed_titles(known: Meanings, wanted: Meanings) -> list[str]:
    """Return the titles that do not mean what they meant before."""
    return [
        title
        for kind, meanings in wanted.items()
        for title, meaning in meanings.items()
        if known.get(kind, {}).get(title, meaning) != meaning
    ]


def joined(known: Meanings, wanted: Meanings) -> Meanings:
    """Return all meanings, those that were known before first."""
    return {kind: {**known.get(kind, {}), **meanings} for kind, meanings in wanted.items()}


def _require_names(titles: Sequence[str]) -> None:
    if not titles:
        raise ValueError("there must be at least one variant; leave the key out for the plain one")
    if twice := sorted({title for title in titles if titles.count(title) > 1}):
        raise ValueError(f"two variants are called {twice[0]!r}; give one of them a 'label'")


def _meaning(spec: WeightsSpec | KVSpec, sha256: Callable[[Path], str]) -> dict[str, Any]:
    files = {name: sha256(path) for name, path in _files(spec)}
    return {**spec.model_dump(mode="json", exclude={"label"}), "files": files}


def _files(spec: WeightsSpec | KVSpec) -> Iterator[tuple[str, Path]]:
    """Yield what a variant's answers depend on besides its fields: a checkpoint, a profile."""
    if isinstance(spec, WeightsSpec) and spec.path is not None:
        yield spec.path, local_checkpoint(ModelSpec(path=spec.path))
    for value in spec.options.values():
        if isinstance(value, str) and value and Path(value).expanduser().exists():
            yield value, Path(value).expanduser()
