"""Events as a person reads them on a console: one sentence each, what to do below it, broken to the terminal's width.

events.py makes one renderer for its stream, and calls it for one event at a time. Where the stream is no terminal,
each event stays on one line.
"""

import os
import re
import textwrap
import time
from typing import TextIO

from lorawatch.event_names import Level
from lorawatch.event_record import Record
from lorawatch.event_sentences import sentence_of
from lorawatch.terminal import styled

_MARKS: dict[Level, str] = {"debug": " ", "info": "·", "warning": "!", "error": "✗"}
_STYLES: dict[Level, str] = {"debug": "dim", "info": "", "warning": "warning", "error": "error"}
_GOOD_MARK, _GOOD_STYLE = "✓", "good"
_LABEL_COLUMNS = 10
_HEAD_COLUMNS = 24  # the time, the mark and the label
_NARROW = 72  # below this the words get nearly the whole width from the second row on
# What to do is the same for many files when a disk is full or a server is down; within this time it is said once.
_ADVICE_SECONDS = 60.0
_UNIT = re.compile(r"(\d) (?=(?:[kMGTPE]?B(?:/s)?|ms|s|min|h|d)\b)")  # stays beside its number


class ConsoleRenderer:
    """Renders one event after the other for a stream."""

    def __init__(self, stream: TextIO, *, is_coloured: bool) -> None:
        self._stream = stream
        self._is_coloured = is_coloured
        self._is_terminal = stream.isatty()
        self._advised: dict[str, float] = {}

    def __call__(self, record: Record) -> str:
        """Return an event as a line, or as several on a terminal; with the local time."""
        sentence = sentence_of(record)
        is_good = sentence.is_good and record.level == "info"
        mark, style = (_GOOD_MARK, _GOOD_STYLE) if is_good else (_MARKS[record.level], _STYLES[record.level])
        clock = time.strftime("%H:%M:%S", time.localtime(record.at))
        head = styled(f"{mark} {sentence.label:<{_LABEL_COLUMNS}}", style, is_wanted=self._is_coloured)
        if self._is_terminal:
            rows = self._broken(sentence.text, self._advice(sentence.cure, record))
        else:
            rows = [sentence.whole]
        return "\n".join([f"{clock}  {head}  {rows[0]}", *rows[1:]])

    def _advice(self, cure: str, record: Record) -> str:
        """Return what to do, unless it has just been said, be it of another file."""
        at, said = record.at, str(record.data.get("fix") or record.data.get("code") or cure)
        if not cure or at - self._advised.get(said, float("-inf")) < _ADVICE_SECONDS:
            return ""
        self._advised = {each: said_at for each, said_at in self._advised.items() if at - said_at < _ADVICE_SECONDS}
        self._advised[said] = at
        return cure

    def _broken(self, text: str, advice: str) -> list[str]:
        """Return the rows of a sentence, the first without its head."""
        columns = self._columns()
        indent = " " * (_HEAD_COLUMNS if columns >= _NARROW else 2)
        first = textwrap.TextWrapper(
            columns,
            initial_indent=" " * _HEAD_COLUMNS,
            subsequent_indent=indent,
            break_long_words=False,
            break_on_hyphens=False,
        )
        rows = first.wrap(_UNIT.sub("\\1\u00a0", text)) or [""]
        rows[0] = rows[0][_HEAD_COLUMNS:] if rows[0].startswith(" " * _HEAD_COLUMNS) else rows[0].lstrip()
        if advice:
            first.initial_indent = f"{indent}→ "
            rows += first.wrap(advice)
        return [row.replace("\u00a0", " ") for row in rows]

    def _columns(self) -> int:
        try:
            return max(40, os.get_terminal_size(self._stream.fileno()).columns)
        except (OSError, ValueError):
            return 80
