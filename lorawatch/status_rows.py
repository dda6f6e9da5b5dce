"""Rows that fit a terminal of any width: what the status view and the bars of `send` and `once` are made of. Pure."""

import math
import textwrap
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from lorawatch import humanize
from lorawatch.event_record import decodable, one_line
from lorawatch.terminal import cells, filled_columns, padded, shortened

_LABEL_COLUMNS = 10
_LEAST_LABELLED_COLUMNS = 60
_SUBJECT_COLUMNS = 34  # names of steps have about 30; more only pushes what changes to the right
_LEAST_SUBJECT_COLUMNS = 14
_BAR_COLUMNS = 24
_LEAST_BAR_COLUMNS = 10


class Part(NamedTuple):
    """A piece of a row in one style; see terminal.py."""

    text: str
    style: str = ""


class Rank:
    """What is left out first where there is no room: the highest."""

    HEAD = 0
    FLIGHT = 1
    TROUBLE = 2
    WAITING = 3
    ADVICE = 4
    FILE = 5
    SPACE = 6
    RESTED = 7


class Row(NamedTuple):
    """One row of the terminal."""

    parts: tuple[Part, ...]
    rank: int

    @property
    def text(self) -> str:
        """The row without its styles."""
        return "".join(part.text for part in self.parts).rstrip()


def fitted(board: Sequence[Row], height: int) -> list[Row]:
    """Return what fits into so many rows: what matters least is left out, and counted."""
    if len(board) <= height:
        return list(board)
    room = max(0, height - 1)
    by_rank = sorted(range(len(board)), key=lambda number: (board[number].rank, number))
    kept = sorted(by_rank[:room])
    hidden = sum(board[number].rank != Rank.SPACE for number in by_rank[room:])
    more = Row((Part(f"… {humanize.count(hidden, 'more row')}: `lorawatch status` shows them", "dim"),), Rank.HEAD)
    return [*(board[number] for number in kept), *([more] if height > 0 else [])]


def footer(board: Sequence[Row], words: str, at: float, *, columns: int, height: int) -> list[Row]:
    """Return the board with a last line at the bottom of the screen: how to leave, and the time."""
    clock = time.strftime("%H:%M:%S", time.localtime(at))
    last = cut([Part(f"{words}  {clock}", "dim")], columns)
    return [*board[: height - 1], *(space() for _ in range(height - 1 - len(board))), Row(last, Rank.HEAD)]


def flight_row(
    label: str, subject: str, done_bytes: int, size_bytes: int, bytes_per_second: float | None, *, columns: int
) -> Row:
    """Return the row of something that is carried: how far, how fast, and how long still."""
    head = _head("↑", "good", label, columns)
    room = columns - _used(head)
    facts = [f"{humanize.percent(done_bytes, size_bytes):>4}"]
    if bytes_per_second == 0:
        facts.append("0 B/s: nothing comes through")
    elif bytes_per_second is not None:
        left = f"{humanize.duration(math.ceil(max(0, size_bytes - done_bytes) / bytes_per_second))} left"
        facts += [left if columns < _LEAST_LABELLED_COLUMNS else f"{left:>13}", f"{humanize.rate(bytes_per_second):>9}"]
    facts.append(f"of {humanize.size(size_bytes)}")
    about, least = "", min(cells(subject), _LEAST_SUBJECT_COLUMNS)
    for count, bar_columns in (
        (4, _LEAST_BAR_COLUMNS),
        (3, _LEAST_BAR_COLUMNS),
        (2, _LEAST_BAR_COLUMNS),
        (2, 0),
        (1, 0),
    ):
        about = "  ".join(facts[:count])
        if least + bar_columns + 4 + cells(about) <= room:
            break
    width = max(0, min(_subject_columns(columns), room - cells(about) - 2 - bar_columns))
    parts = [*head, Part(padded(shortened(subject, width), width)), Part("  ")]
    if bar_columns:
        bar_columns = min(_BAR_COLUMNS, room - width - cells(about) - 4)
        filled = filled_columns(done_bytes, size_bytes, bar_columns)
        parts += [Part("━" * filled, "good"), Part("─" * (bar_columns - filled), "dim"), Part("  ")]
    return Row(cut([*parts, Part(about)], columns), Rank.FLIGHT)


def entry(mark: str, style: str, label: str, subject: str, about: Sequence[str], *, rank: int, columns: int) -> Row:
    """Return a row about one thing: what it is, which, and what there is to say as far as that fits."""
    head = _head(mark, style, label, columns)
    width = _subject_columns(columns)
    room = columns - _used(head)
    facts = [each for each in map(one_line, about) if each]
    while len(facts) > 1 and cells(" · ".join(facts)) > room - width - 2:
        facts.pop()  # rather than a part of it
    details = " · ".join(facts)
    if not details or room < width + 4:
        return Row(cut([*head, Part(shortened(subject, room))], columns), rank)
    subject = padded(shortened(subject, width), width)
    return Row(cut([*head, Part(subject), Part(f"  {details}", "dim")], columns), rank)


def subject_of(path: str) -> str:
    """Name a file as briefly as people do: by the last part of its path, without what all of them end in."""
    return one_line(decodable(path.rpartition("/")[2].removesuffix(".safetensors"))) or "?"


def space() -> Row:
    """Return an empty row."""
    return Row((), Rank.SPACE)


def prose(text: str, style: str, columns: int, rank: int, indent: str = "") -> Iterator[Row]:
    """Yield a text, broken into as many rows as it needs."""
    text = one_line(decodable(" ".join(text.split())))
    width = max(10, columns - len(indent)) * len(text) // max(1, cells(text))  # wide characters count twice
    for line in textwrap.wrap(text, max(5, width), break_on_hyphens=False):
        yield Row((Part(indent), Part(line, style)), rank)


def cut(parts: Sequence[Part], columns: int) -> tuple[Part, ...]:
    """Return as much of the parts as fits."""
    kept: list[Part] = []
    left = columns
    for part in parts:
        if cells(part.text) > left:
            text = part.text
            while text and cells(text) > max(0, left - 1):
                text = text[:-1]
            return (*kept, Part(f"{text}…" if left > 0 else "", part.style))
        kept.append(part)
        left -= cells(part.text)
    return tuple(kept)


def _head(mark: str, style: str, label: str, columns: int) -> list[Part]:
    """Return the mark, and in words what it stands for where there is room for that."""
    return [Part(f"  {mark} {f'{label:<{_LABEL_COLUMNS}}' if columns >= _LEAST_LABELLED_COLUMNS else ''}", style)]


def _subject_columns(columns: int) -> int:
    room = columns - 4 - (_LABEL_COLUMNS if columns >= _LEAST_LABELLED_COLUMNS else 0)
    return max(_LEAST_SUBJECT_COLUMNS, min(max(_SUBJECT_COLUMNS, room // 3), room // 2))


def _used(parts: Sequence[Part]) -> int:
    return sum(cells(part.text) for part in parts)
