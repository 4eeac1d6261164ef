"""The variants of a run, {weights} × {adapters} × {caches}, and the meanings of their titles.

A record knows its variant by name only. The meanings of the titles in it are kept in run.json, so
that variants can be added to a run, and a title never means two things in one folder.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from encodeonce.models.adapters.spec import AdapterSpec
from encodeonce.models.kv.spec import FULL, KVSpec
from encodeonce.models.spec import NONE, WeightsSpec

Meanings = dict[str, dict[str, Any]]
"""By ``weights``, ``kv`` and, where there are any, ``adapters``, then by title: a variant's fields,
and the digests of its files. The base's title among adapters is `NO_ADAPTER`."""

VARIANTS = ("weights", "adapters", "kv")
"""The lists of variants: keys of a run file and of the meanings in run.json."""

NO_ADAPTER = "none"
"""How the base is called among adapters."""


@dataclass(frozen=True, slots=True)
class Variant:
    """The weights, adapter and cache behind an answer, by their titles in the run file.

    `name` is the variant's id: what records store, what users type. Its grammar is ``WEIGHTS/KV``
    or, under an adapter, ``WEIGHTS+ADAPTER/KV``. A cache's title may contain any character, a
    weight variant's no slash, an adapter's neither a slash nor a plus sign.
    """

    weights: str
    kv: str
    adapter: str | None = None
    """None for the base model."""

    def __post_init__(self) -> None:
        """Refuse titles whose name could not be parsed back.

        Raises:
            ValueError: a title is empty, or contains a character that separates titles.
        """
        titles = (self.weights, self.kv) if self.adapter is None else (*self._left, self.kv)
        if not all(titles):
            raise ValueError(f"a variant's titles may not be empty; got {self!r}")
        if "/" in self.weights:
            raise ValueError(
                f"{self.weights!r} contains a slash, which ends the weights' title in "
                "WEIGHTS/KV; choose another 'label'"
            )
        if self.adapter is not None and set("/+") & set(self.adapter):
            raise ValueError(
                f"{self.adapter!r} contains a slash or a plus sign, which separate titles in "
                "WEIGHTS+ADAPTER/KV; choose another 'label'"
            )

    @classmethod
    def of(cls, weights: WeightsSpec, kv: KVSpec, adapter: AdapterSpec | None = None) -> Self:
        """Return the variant of a run file's weights, cache and adapter."""
        return cls(weights.title, kv.title, None if adapter is None else adapter.title)

    @classmethod
    def parse(cls, name: str, adapters: Collection[str] = ()) -> Self:
        """Parse a `name`.

        Labels of weights may contain a plus sign, and records of such variants exist: so only a
        run with adapters has names of three parts, and only its adapters' titles count as such.

        Args:
            name: of a variant.
            adapters: titles of the run's adapters.

        Raises:
            ValueError: it is not a variant's name.
        """
        left, _, kv = name.partition("/")
        if not left or not kv:
            raise ValueError(
                f"{name!r} is not a variant's name; it is written WEIGHTS/KV, e.g. 'none/full'"
            )
        weights, _, adapter = left.rpartition("+")
        return cls(weights, kv, adapter) if weights and adapter in adapters else cls(left, kv)

    @property
    def name(self) -> str:
        """The variant's id, by which records store it; see the class."""
        return f"{self.model}/{self.kv}"

    @property
    def model(self) -> str:
        """The part of the id that is about the model: its weights and adapter."""
        return "+".join(self._left)

    @property
    def is_full(self) -> bool:
        """Whether its cache is kept whole, in the model's precision."""
        return self.kv == FULL.title

    @property
    def own_full(self) -> "Variant":
        """The full cache of the same weights and adapter."""
        return replace(self, kv=FULL.title)

    @property
    def _left(self) -> tuple[str, ...]:
        """The id's parts before the cache."""
        return (self.weights,) if self.adapter is None else (self.weights, self.adapter)


BASELINE = Variant(NONE.title, FULL.title)
"""The variant without a weight method, adapter or KV compression."""


def check_weights_titles(specs: Sequence[WeightsSpec]) -> None:
    """Refuse weight variants that records could not tell apart.

    Raises:
        ValueError: there is none, two have the same title, or a title means something else.
    """
    _require_names([spec.title for spec in specs])
    for spec in specs:
        if "/" in spec.title:
            raise ValueError(f"{spec.title!r} contains a slash; give the variant a 'label'")
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


def check_adapter_titles(
    adapters: Sequence[AdapterSpec | None], weights: Sequence[WeightsSpec]
) -> None:
    """Refuse adapters that records could not tell apart.

    Raises:
        ValueError: there is none, two have the same title, or a weight variant's title would be
            read as one with an adapter.
    """
    _require_names([NO_ADAPTER if one is None else one.title for one in adapters])
    if any(adapters) and (found := [one.title for one in weights if "+" in one.title]):
        raise ValueError(
            f"the weights {found[0]!r} have a plus sign in their title, which separates weights "
            "and adapter in WEIGHTS+ADAPTER/KV; give them another 'label'"
        )


def adapters_in(meanings: Meanings) -> tuple[str, ...]:
    """Return the titles of a run's adapters, without the base."""
    return tuple(title for title in meanings.get("adapters", ()) if title != NO_ADAPTER)


def variants_of(meanings: Meanings) -> list[Variant]:
    """Return all variants that the titles make up."""
    return [
        Variant(one, kv, None if adapter == NO_ADAPTER else adapter)
        for one in meanings.get("weights", {})
        for adapter in meanings.get("adapters", (NO_ADAPTER,))
        for kv in meanings.get("kv", {})
    ]


def changed_titles(known: Meanings, wanted: Meanings) -> list[str]:
    """Return the titles whose meaning has changed."""
    return [
        title
        for kind, meanings in wanted.items()
        for title, meaning in meanings.items()
        if known.get(kind, {}).get(title, meaning) != meaning
    ]


def joined(known: Meanings, wanted: Meanings) -> Meanings:
    """Return all meanings, the known ones first."""
    return {
        kind: {**known.get(kind, {}), **wanted.get(kind, {})}
        for kind in dict.fromkeys([*wanted, *known])
    }


def _require_names(titles: Sequence[str]) -> None:
    if not titles:
        raise ValueError("there must be at least one variant; leave the key out for the plain one")
    if twice := sorted({title for title in titles if titles.count(title) > 1}):
        raise ValueError(f"two variants are named {twice[0]!r}; give one of them a 'label'")
