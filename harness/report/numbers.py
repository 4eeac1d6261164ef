"""Formats numbers for readers."""

from collections.abc import Mapping

from encodeonce.harness.run.sizes import human_bytes as human_bytes


def hit_rate_words(rate: float | None, num_below: int, num_hits: int) -> str:
    """Return a hit rate, and how much of it are hits in caches that are only read.

    >>> hit_rate_words(0.5, 10, 40)
    '50 % (25 % of it in read-only caches)'
    """
    below = f" ({percent(num_below / num_hits)} of it in read-only caches)" if num_below else ""
    return f"{percent(rate)}{below}"


def percent(fraction: float | None, digits: int = 0) -> str:
    """Return ``"97 %"``; never rounds up to 100 % nor down to 0 %."""
    if fraction is None:
        return "-"
    shown = round(100 * fraction, digits)
    step = 10.0**-digits
    if fraction < 1 and shown >= 100:
        shown = 100 - step
    if fraction > 0 and shown <= 0:
        shown = step
    return f"{shown:.{digits}f} %"


def points(difference: float) -> str:
    """Return a difference of fractions in percentage points, with its sign: ``"-1.9"``."""
    return f"{100 * difference:+.1f}".replace("-0.0", "0.0").replace("+0.0", "0.0")


def points_in(difference: Mapping[str, float] | None) -> str:
    """Return a paired difference with its interval, in points: ``"-1.9 (-4.0 to 0.2)"``."""
    if difference is None:
        return "-"
    return f"{points(difference['mean'])} ({interval_in(difference)})"


def interval_in(difference: Mapping[str, float]) -> str:
    """Return a paired difference's interval, in points: ``"-4.0 to 0.2"``."""
    return f"{points(difference['low'])} to {points(difference['high'])}"


def number(value: float | None, form: str) -> str:
    """Return a number as ``format`` writes it; a dash where there is none."""
    return "-" if value is None else format(value, form)


def human_seconds(seconds: float) -> str:
    """Return ``"3.2 s"``, ``"4 min 10 s"`` or ``"2 h 05 min"``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"


def human_count(count: int, noun: str) -> str:
    """Return ``"1 unit"`` or ``"12 units"``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
