"""Finds KV methods by name, and refuses settings that cannot be used.

The folder `methods/` is the registry: each file there defines one ``METHOD``. It is imported when
the method is asked for, since all of them import torch.
"""

import importlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from encodeonce.datasets.refusal_words import suggestion
from encodeonce.datasets.refusals import Refused, checked
from encodeonce.models.kv.spec import FULL_METHOD, KVSpec
from encodeonce.models.plugin_file import text_in

if TYPE_CHECKING:
    from encodeonce.models.kv.method import KVMethod

_FOLDER = Path(__file__).parent / "methods"


def method_names() -> list[str]:
    """Return the methods by file name, from the folder's listing, and 'full'."""
    return [FULL_METHOD, *sorted(path.stem for path in _FOLDER.glob("*.py"))]


def display_name(method: str) -> str:
    """Return a method's name in papers and reports, without importing it.

    Raises:
        ValueError: there is none of this name.
    """
    _require(method)
    return text_in(_FOLDER / f"{method}.py", "display_name")


@cache
def method_class(name: str) -> "type[KVMethod]":
    """Return a method's class.

    Raises:
        ValueError: there is none of this name.
    """
    _require(name)
    module = importlib.import_module(f"encodeonce.models.kv.methods.{name}")
    found: type[KVMethod] = module.METHOD
    return found


def find_method(spec: KVSpec) -> "KVMethod | None":
    """Return the method of a setting with its options; None where nothing is removed.

    Raises:
        ValueError: the method is unknown, or an option is wrong.
    """
    if spec.method == FULL_METHOD:
        if spec.options:
            raise ValueError(f"kv: method 'full' has no options; got {sorted(spec.options)}")
        return None
    kind = method_class(spec.method)
    try:
        return checked(kind, spec.options)
    except Refused as error:
        raise ValueError(f"kv: options of method {spec.method!r}: {error}") from error


def file_options(spec: KVSpec) -> tuple[str, ...]:
    """Return a setting's options that name a file or folder; none where there is no such method."""
    if spec.method == FULL_METHOD or spec.method not in method_names():
        return ()
    return method_class(spec.method).file_options


def for_workers(spec: KVSpec) -> KVSpec:
    """Return a setting that means the same in any working folder, under the same title.

    Raises:
        ValueError: an option that should name a file is no path.
    """
    given = {name: spec.options[name] for name in file_options(spec) if spec.options.get(name)}
    if not given:
        return spec
    kind = method_class(spec.method)
    shown = {**spec.options, **{name: Path(value).name for name, value in given.items()}}
    places = {name: str(kind.located(name, value)) for name, value in given.items()}
    found = {**spec.options, **places}
    title = spec.model_copy(update={"options": shown}).title
    return spec.model_copy(update={"options": found, "label": title})


def check_kv(spec: KVSpec) -> None:
    """Refuse a setting that cannot be used.

    Raises:
        ValueError: the method is unknown, or an option is wrong, or precision and method do not go
            together.
    """
    method = find_method(spec)
    if method is None:
        return
    try:
        only = method.only_keep
    except ValueError as error:
        raise ValueError(f"kv: method {spec.method!r}: {error}") from error
    if only is not None and abs(spec.keep - only) > 1e-9:
        raise ValueError(
            f"kv: method {spec.method!r} with these options keeps {only:g}, whatever is asked for; "
            f"got keep {spec.keep:g}. Write compression_factor: {1 / only:g}"
        )
    if method.needs_question and spec.scope == "media":
        raise ValueError(
            f"kv: method {spec.method!r} reads the question, so it cannot compress what all "
            "questions share; use scope: question"
        )
    if spec.precision == "model":
        return
    if method.eviction(64, [32], 0.5) is not None:
        raise ValueError(
            f"kv: method {spec.method!r} with these options removes entries while decoding, and "
            f"entries stored as {spec.precision} share scales; use precision: model"
        )


def _require(name: str) -> None:
    if name == FULL_METHOD or name not in method_names():
        raise ValueError(
            f"kv: there is no method {name!r}. Allowed: {', '.join(method_names())}."
            f"{suggestion(name, method_names())} A new method is one file in models/kv/methods/."
        )
