"""Sizes, rates, durations and counts as people say them. Pure; used by the event sentences, `status` and the bars.

Sizes are decimal (1 kB = 1000 bytes), as in the configuration and on the labels of disks. JSON stays exact: it never
goes through here.
"""

import math

_UNITS = ("kB", "MB", "GB", "TB", "PB", "EB")
_SPANS = ((86_400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s"))
_BUMP = 999.5  # from here on three digits would round to 1000: the next unit says it better


def size(size_bytes: float) -> str:
    """Return a size with three digits, such as "151 MB"."""
    if not math.isfinite(size_bytes):
        return "unknown size"
    value = abs(size_bytes)
    sign = "-" if size_bytes < 0 else ""
    if value < _BUMP:
        return f"{sign}{value:.0f} B"
    for unit in _UNITS:
        value /= 1000
        if value < _BUMP or unit == _UNITS[-1]:
            break
    return f"{sign}{value:.3g} {unit}"


def rate(bytes_per_second: float) -> str:
    """Return a speed, such as "1.07 GB/s"."""
    return f"{size(bytes_per_second)}/s"


def duration(seconds: float) -> str:
    """Return a time span in its two largest units, such as "0.14 s", "2 min 5 s" or "3 d 4 h"."""
    if not math.isfinite(seconds):
        return "unknown time"
    if seconds < 0.0095:
        return f"{max(0.0, seconds) * 1000:.1g} ms"
    if seconds < 59.5:
        return f"{seconds:.2g} s"
    whole = round(seconds)
    for large, large_unit, small, small_unit in _SPANS:
        if whole >= large:
            rest = whole % large // small
            return f"{whole // large} {large_unit}" + (f" {rest} {small_unit}" if rest else "")
    return f"{whole} s"


def count(number: int, noun: str) -> str:
    """Return a counted noun with a regular plural, such as "1 file" or "12,345 deliveries"."""
    plural = f"{noun[:-1]}ies" if noun.endswith("y") and noun[-2:-1] not in "aeiou" else f"{noun}s"
    return f"{number:,} {noun if number == 1 else plural}"


def percent(done: float, total: float) -> str:
    """Return how much of a whole is done, rounded down: 100 % is only said of all of it."""
    if total <= 0:
        return "100%"
    return f"{min(100, max(0, math.floor(100 * done / total)))}%"
