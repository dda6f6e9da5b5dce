"""One event on its way out: its data reduced to what JSON knows, and to text that every reader can decode.

Called by events.py on every thread; pure. Whatever a caller hands over becomes something printable: a strange file
name must never cost the event that tells about it.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from typing import NamedTuple, TypeAlias

from lorawatch.event_names import Event, Level

Json: TypeAlias = "str | int | float | bool | list[Json] | dict[str, Json] | None"


class CallSite(NamedTuple):
    """The line of code that emitted an event."""

    file: str
    line: int
    function: str


@dataclass(frozen=True, slots=True)
class Record:
    """One event, ready to be rendered."""

    at: float  # unix seconds
    level: Level
    event: Event
    data: Mapping[str, Json]
    call_site: CallSite | None = None  # known only where the journal asks for it


def plain(value: object) -> Json:
    """Return a value as JSON can hold it: enums by their value, floats with three decimals, unknown things as text."""
    kind = type(value)
    if kind is str:
        return decodable(str(value))
    if value is None or kind is int or kind is bool:
        return value  # type: ignore[return-value]  # int or bool: `kind` is not narrowed, and isinstance is slower here
    if isinstance(value, float):
        return round(value, 3) if math.isfinite(value) else None
    if isinstance(value, Enum):
        return plain(value.value)
    if isinstance(value, bytes | bytearray):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, Mapping):
        return {decodable(str(key)): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, set | frozenset):
        return [plain(each) for each in sorted(value, key=str)]
    if is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    return decodable(str(value))


def decodable(text: str) -> str:
    r"""Return a text without surrogates: an undecodable byte of a file name is shown as \xff."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        pass  # the two lines below show what cannot be encoded
    else:
        return text
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # a surrogate that stands for no byte, as from a JSON answer
        return text.encode("utf-8", "backslashreplace").decode()


def one_line(text: str) -> str:
    """Return a text whose control characters are shown as escapes."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)
