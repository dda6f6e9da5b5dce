"""What a terminal can show: colours, and texts cut to its width. Pure, but for asking a stream what it is."""

import codecs
import unicodedata
from collections.abc import Mapping
from typing import TextIO

# ECMA-48, SGR; what a person's palette makes of the eight old colours is readable on their background.
_STYLES = {"good": "32", "warning": "33", "error": "31", "strong": "1", "dim": "2"}
_ELLIPSIS = "…"
_PLAIN = {"→": "->", "·": "-", "✓": "+", "✗": "x", "…": "...", "↑": "^", "━": "#", "─": "-"} | dict(
    zip("▁▂▃▄▅▆▇█", "_.:-=+*#", strict=True)
)
# The `errors` of a stream or an encoding: plain characters in place of our marks, and escapes for all others.
PLAINLY = "lorawatch-plainly"


def is_coloured(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Return whether colours may be written: to a terminal that knows them, unless NO_COLOR says otherwise."""
    return stream.isatty() and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"


def is_utf8(stream: TextIO) -> bool:
    """Return whether a stream takes every character."""
    return codecs.lookup(stream.encoding or "utf-8").name == "utf-8"


def _plainly(error: UnicodeError) -> tuple[str | bytes, int]:
    """Return what stands for the characters that cannot be encoded, and where to go on."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    marks = error.object[error.start : error.end]
    if not all(each in _PLAIN for each in marks):
        return codecs.backslashreplace_errors(error)
    return "".join(map(_PLAIN.__getitem__, marks)), error.end


codecs.register_error(PLAINLY, _plainly)


def is_redrawable(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Return whether lines on it can be drawn anew in place."""
    return stream.isatty() and environ.get("TERM") not in {None, "", "dumb", "unknown"}


def styled(text: str, style: str, *, is_wanted: bool) -> str:
    """Return a text in a style ("good", "warning", "error", "strong", "dim"), if that is wanted."""
    return f"\x1b[{_STYLES[style]}m{text}\x1b[0m" if is_wanted and style and text else text


def cells(text: str) -> int:
    """Return how many columns a text takes: 2 for a wide character, 0 for one that sits on the one before it."""
    if text.isascii():
        return len(text)
    return sum(_cells_of(each) for each in text)


def shortened(text: str, columns: int) -> str:
    """Return a text that fits into so many columns, cut in its middle: names differ in their ends."""
    if cells(text) <= columns:
        return text
    if columns <= 1:
        return _ELLIPSIS[:columns]
    tail_columns = (columns - 1) * 2 // 3
    head, tail = _head(text, columns - 1 - tail_columns), _head(text[::-1], tail_columns)[::-1]
    return f"{head}{_ELLIPSIS}{tail}"


def shortened_path(path: str, columns: int) -> str:
    """Return a path that fits: whole directories are left out before the name is cut."""
    if cells(path) <= columns:
        return path
    parts = path.split("/")
    for first in range(1, len(parts)):
        short = "/".join([_ELLIPSIS, *parts[first:]])
        if cells(short) <= columns:
            return short
    return shortened(parts[-1], columns)


def padded(text: str, columns: int) -> str:
    """Return a text with spaces behind it up to so many columns."""
    return text + " " * (columns - cells(text))


def filled_columns(done: float, total: float, columns: int) -> int:
    """Return how many of the columns of a bar are filled."""
    return int(columns * min(1.0, max(0.0, done / total))) if total > 0 else columns


def sparkline(values: list[float], columns: int) -> str:
    """Return the latest values as a row of small columns, the highest of them full; nothing is a dot."""
    latest = values[-columns:] if columns > 0 else []
    most = max(latest, default=0.0)
    blocks = "▁▂▃▄▅▆▇█"
    return "".join("·" if each <= 0 else blocks[min(7, int(8 * each / most))] for each in latest)


def _head(text: str, columns: int) -> str:
    """Return as much of the beginning as fits."""
    taken = 0
    for number, each in enumerate(text):
        taken += _cells_of(each)
        if taken > columns:
            return text[:number]
    return text


def _cells_of(character: str) -> int:
    if unicodedata.combining(character) or character in "\u200b\u200d\ufe0f":
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
