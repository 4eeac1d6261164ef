"""The presses of kvpress: which are used, with what arguments, and why the others are not.

A press is used if all that it does is to score a prompt's entries, the same every time, from what a
forward hook is given; the best of each head stay. The names are those of the version below, and
another version is refused: what a press of the same name does there has not been compared.
"""

import importlib
import importlib.metadata
from collections.abc import Mapping
from dataclasses import Field, fields
from typing import Any

from encodeonce.datasets.refusal_words import suggestion
from encodeonce.datasets.refusals import Refused, checked_as

VERSION = "0.5.5"
INSTALL = (
    f"pip install --no-deps kvpress=={VERSION} cachetools==5.5.2 fire==0.6.0 six==1.17.0 "
    "termcolor==3.3.0"
)
"""What to type. `constraints-kvpress.txt` has the same versions."""

USED: tuple[str, ...] = (
    "CURPress",
    "CapPress",
    "ExpectedAttentionPress",
    "KeyDiffPress",
    "KnormPress",
    "LagKVPress",
    "NonCausalAttnPress",
    "PyramidKVPress",
    "RandomPress",
    "SnapKVPress",
    "StreamingLLMPress",
    "TOVAPress",
)

_WRAPS = "it works on other presses, which a run file cannot describe"
_DECODES = "it removes entries while the answer is decoded, in a loop of its own"
_REREADS = "it reads the whole prompt a second time with the model"
_TRAINED = "it downloads weights or curves that were made for one language model"
_UNSEEDED = "it draws random numbers without a seed, so no two runs would keep the same entries"

REFUSED: Mapping[str, str] = {
    "AdaKVPress": f"{_WRAPS}. Use method: adakv",
    "BasePress": "it is what presses inherit from, and keeps nothing itself",
    "BlockPress": _WRAPS,
    "CAMPress": _DECODES,
    "ChunkKVPress": _WRAPS,
    "ChunkPress": _WRAPS,
    "CompactorPress": _UNSEEDED,
    "ComposedPress": _WRAPS,
    "CompressionRatioDecodingPress": _DECODES,
    "CriticalAdaKVPress": _WRAPS,
    "CriticalKVPress": _WRAPS,
    "DMSPress": "how much it keeps follows from a threshold, not from a budget",
    "DecodingPress": _DECODES,
    "DuoAttentionPress": _TRAINED,
    "EntropyGatedChunkKVPress": _WRAPS,
    "ExpectedAttentionStatsPress": _TRAINED,
    "FastKVzipPress": _TRAINED,
    "FinchPress": "it needs a delimiter token between context and question, which prompts lack",
    "KVComposePress": "it needs the whole matrix of attention weights, which is never held here",
    "KVgradPress": _REREADS,
    "KVzapPress": _TRAINED,
    "KVzipPress": _REREADS,
    "KeyRerotationPress": _WRAPS,
    "LUKVPress": _TRAINED,
    "LeverageScorePress": _UNSEEDED,
    "MergingPress": _WRAPS,
    "ObservedAttentionPress": "it needs the whole matrix of attention weights, which is never held "
    "here. Use method: h2o, which adds the same weights up in blocks",
    "PerLayerCompressionPress": _WRAPS,
    "PrefillDecodingPress": _DECODES,
    "QFilterPress": _TRAINED,
    "RestoreKVPress": _REREADS,
    "ScorerPress": "it is what scoring presses inherit from, and keeps nothing itself",
    "SimLayerKVPress": "how much it keeps follows from a threshold, not from a budget",
    "ThinKPress": "it removes channels of keys, not entries",
}
"""The other presses, with the reason."""

_AT_LEAST: Mapping[str, int] = {"n_sink": 0, "num_sinks": 0, "seed": 0}
"""Least values of whole-number arguments other than 1."""


def press_class(name: str) -> Any:
    """Return a press's class.

    Raises:
        ValueError: kvpress has no such press, or it cannot be used; or kvpress or a module that it
            imports is not installed, or it is another version.
    """
    if name in REFUSED:
        raise ValueError(
            f"press: {name} of kvpress is not used: {REFUSED[name]}. Used: {', '.join(USED)}"
        )
    if name not in USED:
        raise ValueError(
            f"press: kvpress has no {name!r}. Used: {', '.join(USED)}.{suggestion(name, USED)}"
        )
    try:
        kvpress = importlib.import_module("kvpress")
    except ImportError as error:
        if error.name == "kvpress":
            raise ValueError(f"kvpress is not installed; type: {INSTALL}") from error
        raise ValueError(
            f"kvpress cannot be imported: it lacks {error.name or error}; type: {INSTALL}"
        ) from error
    if (version := importlib.metadata.version("kvpress")) != VERSION:
        raise ValueError(
            f"kvpress {version} is installed, and presses were compared with {VERSION} alone; "
            f"type: {INSTALL}"
        )
    return getattr(kvpress, name)


def make_press(name: str, arguments: Mapping[str, Any], keep: float) -> Any:
    """Return a press that keeps a fraction of the entries.

    Args:
        name: one of `USED`.
        arguments: the press's own, without compression_ratio.
        keep: fraction that stays.

    Raises:
        ValueError: as `press_class`; or an argument is unknown or has a wrong value.
    """
    kind = press_class(name)
    allowed = {one.name: one for one in fields(kind) if _is_argument(one)}
    for key, value in arguments.items():
        _check_argument(name, key, value, allowed)
    # 12 digits: 1 - 0.2 is to be the 0.8 that somebody would give to kvpress.
    ratio = round(1.0 - keep, 12)
    try:
        press: Any = checked_as(kind, {**arguments, "compression_ratio": ratio})
    except Refused as error:
        raise ValueError(f"args.{error.problems[0].words}") from error
    if getattr(press, "use_random_leverage", False):
        raise ValueError(f"args.use_random_leverage: must be false: {_UNSEEDED}")
    if name == "RandomPress" and press.seed is None:
        raise ValueError(f"args.seed is missing: without it, {_UNSEEDED.removeprefix('it ')}")
    return press


def _is_argument(field: "Field[Any]") -> bool:
    return field.init and field.name != "compression_ratio" and not field.name.startswith("_")


def _check_argument(press: str, key: str, value: Any, allowed: Mapping[str, "Field[Any]"]) -> None:
    """Refuse what the press would only fail on, or misread, in the middle of a prompt."""
    if key == "compression_ratio":
        raise ValueError("args.compression_ratio: give the budget by keep, beside options")
    if key not in allowed:
        raise ValueError(
            f"args.{key}: {press} has no such argument. Allowed: {', '.join(allowed) or 'none'}."
            f"{suggestion(key, list(allowed))}"
        )
    default = allowed[key].default
    is_whole = isinstance(default, int) and not isinstance(default, bool)
    if isinstance(value, bool) and not isinstance(default, bool):
        raise ValueError(f"args.{key}: must be a number; got {str(value).lower()}")
    if (is_whole or key == "seed") and isinstance(value, int) and value < _AT_LEAST.get(key, 1):
        raise ValueError(f"args.{key}: must be at least {_AT_LEAST.get(key, 1)}; got {value}")
    if key == "kernel_size" and isinstance(value, int) and value % 2 == 0:
        raise ValueError(f"args.{key}: must be odd; got {value}")
