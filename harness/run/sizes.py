"""Sizes and durations as users type and read them: ``500GB``, ``1.5 TiB``, ``30d``, ``12h``."""

import re

SIZES = {
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "tb": 10**12,
    "kib": 2**10,
    "mib": 2**20,
    "gib": 2**30,
    "tib": 2**40,
}
DURATIONS = {"s": 1.0, "min": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}

QUANTITY = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-zA-Z]+)\s*")


def parse_bytes(text: str) -> int:
    """Return a size in bytes.

    Raises:
        ValueError: it is not a number with a unit.
    """
    return round(_parse(text, SIZES, "500GB or 1.5TiB"))


def parse_seconds(text: str) -> float:
    """Return a duration in seconds.

    Raises:
        ValueError: it is not a number with a unit.
    """
    return _parse(text, DURATIONS, "30d or 12h")


def human_bytes(count: int) -> str:
    """Return ``"1.5 MiB"``."""
    size = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{count} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def _parse(text: str, units: dict[str, int] | dict[str, float], example: str) -> float:
    found = QUANTITY.fullmatch(text)
    if found is None or found[2].lower() not in units:
        raise ValueError(
            f"got {text!r}; needs a number with a unit ({', '.join(units)}), e.g. {example}"
        )
    return float(found[1]) * units[found[2].lower()]
