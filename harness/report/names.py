"""Display names of a run's variants: "SnapKV 20 %, after the question" for ``snapkv@0.2``.

Ids (`Variant.name`) are what records store and users type. Names are for tables and figures, and
are made here and nowhere else, from the meanings of titles that run.json records. A title that the
user chose (``label``) is its own name; so is one whose meaning is unknown, as in folders of older
versions.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import PurePath
from typing import Any, Self, TypeVar

from encodeonce.datasets.refusals import Refused, checked
from encodeonce.harness.results.summary import Summary
from encodeonce.harness.run.variant import Meanings, Variant
from encodeonce.models.kv.registry import display_name as kv_display_name
from encodeonce.models.kv.spec import FULL_METHOD, KVSpec
from encodeonce.models.quantization.registry import display_name as weights_display_name
from encodeonce.models.spec import WeightsSpec

Spec = TypeVar("Spec", KVSpec, WeightsSpec)

_SCOPES = {"question": "after the question", "media": "before the question"}
"""When a prompt is compressed: after its question is read, or before, once for all questions."""


def kv_name(spec: KVSpec) -> str:
    """Return the display name of a cache setting, whatever its label."""
    name, when = kv_parts(spec)
    return f"{name}, {when}" if when else name


def kv_parts(spec: KVSpec) -> tuple[str, str]:
    """Return a cache setting's name, and when it compresses a prompt; empty where it does not."""
    keep = "" if spec.method == FULL_METHOD else f" {100 * spec.keep:.3g} %"
    return f"{_method_words(spec)}{keep}{_precision_words(spec)}", _when(spec)


def curve_name(spec: KVSpec) -> str:
    """Return the common name of settings that differ in their budgets alone."""
    name, when = f"{_method_words(spec)}{_precision_words(spec)}", _when(spec)
    return f"{name}, {when}" if when else name


def weights_name(spec: WeightsSpec) -> str:
    """Return the display name of a weight variant, whatever its label."""
    try:
        name = weights_display_name(spec.method)
    except ValueError:  # a method that this version does not have
        name = spec.method
    source = () if spec.path is None else (PurePath(spec.path).name,)
    return f"{name}{_in_brackets(*source, **spec.options)}"


def _method_words(spec: KVSpec) -> str:
    if spec.method == FULL_METHOD:
        return "full cache"
    try:
        name = kv_display_name(spec.method)
    except ValueError:  # a method that this version does not have
        name = spec.method
    return f"{name}{_in_brackets(**spec.options)}"


def _precision_words(spec: KVSpec) -> str:
    return "" if spec.precision == "model" else f" in {spec.precision}"


def _when(spec: KVSpec) -> str:
    """Say when the prompt is compressed, where that matters."""
    is_whole = spec.method == FULL_METHOD and spec.scope == "question"
    return "" if is_whole else _SCOPES[spec.scope]


def _in_brackets(*words: str, **options: Any) -> str:
    parts = [*words, *(_option_words(name, value) for name, value in sorted(options.items()))]
    return f" ({', '.join(parts)})" if parts else ""


def _option_words(name: str, value: Any) -> str:
    """Say an option as people do: ``window 16``, ``shared``, ``no sinks``; a file by its name."""
    called = name.replace("_", " ")
    if isinstance(value, bool):
        return called if value else f"no {called}"
    return _short(value) if name == "path" else f"{called} {_short(value)}"


def _short(value: Any) -> str:
    """Return the last part of a path; any other value as it is."""
    return PurePath(value).name if isinstance(value, str) and "/" in value else str(value)


class Names:
    """The names of one run's variants and of their parts."""

    def __init__(self, meanings: Meanings) -> None:
        """Take the meanings of titles, as run.json records them."""
        self._kv_specs = _specs(KVSpec, meanings.get("kv", {}))
        self._weights_specs = _specs(WeightsSpec, meanings.get("weights", {}))
        self._kv = _told_apart(self._kv_specs, kv_name)
        self._weights = _told_apart(self._weights_specs, weights_name)

    @classmethod
    def of(cls, summary: Summary) -> Self:
        """Return the names of the run that `summarize_run` describes."""
        return cls(summary["run"].get("variants", {}))

    def kv(self, title: str) -> str:
        """Return the name of a cache setting."""
        return self._kv.get(title, title)

    def weights(self, title: str) -> str:
        """Return the name of a weight variant."""
        return self._weights.get(title, title)

    def variant(self, variant: Variant) -> str:
        """Return the name of a variant. Unchanged weights are not mentioned."""
        if variant.kv not in self._kv or variant.weights not in self._weights:
            return variant.name
        kv, model = self.kv(variant.kv), self.model(variant)
        is_plain = variant.adapter is None and self._weights_specs[variant.weights].is_none
        return kv if is_plain else f"{model} · {kv}"

    def model(self, variant: Variant) -> str:
        """Return the name of a variant's weights and adapter."""
        base = self.weights(variant.weights)
        return base if variant.adapter is None else f"{base} + {variant.adapter}"

    def parts(self, variant: Variant) -> tuple[str, str]:
        """Return the name of a variant's cache, and when that compresses; see `kv_parts`."""
        name = self.kv(variant.kv)
        spec = self._kv_specs.get(variant.kv)
        return kv_parts(spec) if spec is not None and name == kv_name(spec) else (name, "")

    def heading(self, variant: Variant, with_model: bool) -> str:
        """Return what a group of variants has in common: when they compress, and their model."""
        parts = (self.model(variant) if with_model else "", self.parts(variant)[1])
        return ", ".join(part for part in parts if part)

    def curve(self, title: str) -> tuple[str, str]:
        """Return the curve that a setting is a point of: its key and its name.

        A curve is a method over its budgets, so a setting's label does not count.
        """
        spec = self._kv_specs.get(title)
        if spec is None:
            return title, title
        return spec.model_copy(update={"keep": 1.0}).title, curve_name(spec)


def _specs(kind: type[Spec], meanings: Mapping[str, Any]) -> dict[str, Spec]:
    """Return the meanings of titles, without those that this version cannot read."""
    found = {}
    for title, meaning in meanings.items():
        fields = {name: value for name, value in meaning.items() if name != "files"}
        with suppress(Refused):
            found[title] = checked(kind, fields)
    return found


def _told_apart(specs: Mapping[str, Spec], name_of: Callable[[Spec], str]) -> dict[str, str]:
    """Return names by title. The user's own titles stay, as do titles that would share a name."""
    names = {
        # A meaning holds no label: where it yields another title, the recorded one was a label.
        title: name_of(spec) if spec.title == title else title
        for title, spec in specs.items()
    }
    count = Counter(names.values())
    return {title: name if count[name] == 1 else title for title, name in names.items()}
