"""Where events go: JSON or sentences to a stream, JSON to a file that survives logrotate, entries to the journal.

events.py calls it, one event at a time, whatever the thread. An output never raises: each says beside the swallowed
error what recovers it, because a closed pipe or a full log disk must not stop a delivery.
"""

import datetime as dt
import errno
import json
import os
import select
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol, TextIO

from lorawatch import journald
from lorawatch.event_names import Level
from lorawatch.event_record import Json, Record
from lorawatch.event_sentences import sentence_of
from lorawatch.terminal import PLAINLY, is_utf8

_PRIORITIES: dict[Level, int] = {"debug": 7, "info": 6, "warning": 4, "error": 3}  # syslog(3)

_PIECE_LENGTH = select.PIPE_BUF  # of several lines; names that are no ASCII may make it longer, as a long line does

Render = Callable[[Record], str]


class Output(Protocol):
    """One place where events go."""

    def write(self, records: Sequence[Record]) -> None:
        """Write events. Never raises."""

    def close(self) -> None:
        """Give back what was opened; what was handed in stays open."""


def json_renderer(*, is_ascii: bool) -> Render:
    """Return what renders an event as one line of JSON."""
    encode = json.JSONEncoder(ensure_ascii=is_ascii).encode  # json.dumps would make one for each event

    def rendered(record: Record) -> str:
        when = dt.datetime.fromtimestamp(record.at, dt.UTC).isoformat(timespec="milliseconds")
        head: dict[str, Json] = {"timestamp": f"{when[:-6]}Z", "level": record.level, "event": record.event.value}
        return encode({**head, **record.data})

    return rendered


class StreamOutput:
    """Lines on a stream that somebody else owns, flushed a few at a time."""

    def __init__(self, stream: TextIO, render: Render) -> None:
        self._stream: TextIO | None = stream
        self._render = render
        self._foreign_encoding = None if is_utf8(stream) else stream.encoding

    def write(self, records: Sequence[Record]) -> None:
        """Write and flush."""
        for piece in _pieces(map(self._line, records)):
            if self._stream is not None:
                self._write(piece, self._stream)

    def _line(self, record: Record) -> str:
        line = self._render(record)
        if self._foreign_encoding is not None:
            line = line.encode(self._foreign_encoding, PLAINLY).decode(self._foreign_encoding)
        return f"{line}\n"

    def _write(self, text: str, stream: TextIO) -> None:
        try:
            stream.write(text)
            stream.flush()
        except BrokenPipeError:  # nobody reads any more, for good: the daemon goes on, the file and status still tell
            self._silence(stream)
        except (OSError, ValueError):
            pass  # a full disk or a closed stream: lines are lost; the next one is tried, and the journal has it all

    def close(self) -> None:
        """Leave the stream to its owner."""

    def _silence(self, stream: TextIO) -> None:
        """Point the stream nowhere: else Python would fail once more when it flushes it at exit."""
        self._stream = None
        try:
            nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)
        except OSError:
            pass  # then the exit code is 120, which is all that this prevents


class FileOutput:
    """JSON lines appended to a file, which may be renamed, removed or truncated by logrotate at any time."""

    def __init__(self, path: str, *, on_trouble: Callable[[OSError], None]) -> None:
        self._path = path
        self._on_trouble = on_trouble
        self._render = json_renderer(is_ascii=False)
        self._descriptor = -1
        self._identity: tuple[int, int] | None = None
        self._is_line_open = False  # the last write ended within a line
        self._is_in_trouble = False

    def write(self, records: Sequence[Record]) -> None:
        """Append events; the first failure of a row is told, the next ones are tried as if nothing had been."""
        for piece in _pieces(f"{self._render(record)}\n" for record in records):
            self._write(piece.encode())

    def _write(self, lines: bytes) -> None:
        try:
            self._open_current()
            self._append(lines)
        except OSError as error:
            if not self._is_in_trouble:
                self._is_in_trouble = True
                self._on_trouble(error)
        else:
            self._is_in_trouble = False

    def close(self) -> None:
        """Close the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor, self._identity = -1, None

    def _open_current(self) -> None:
        """Open the file that bears the name now: logrotate may have moved the one that was open."""
        try:
            status = os.stat(self._path)
        except FileNotFoundError:
            current = None
        else:
            current = (status.st_dev, status.st_ino)
        if current is not None and current == self._identity:
            return
        self.close()
        # O_NONBLOCK: a pipe with this name and no reader refuses instead of waiting; a regular file takes no notice.
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
        self._descriptor = os.open(self._path, flags, 0o644)
        opened = os.fstat(self._descriptor)
        self._identity, self._is_line_open = (opened.st_dev, opened.st_ino), False

    def _append(self, line: bytes) -> None:
        line = b"\n" * self._is_line_open + line
        written = os.write(self._descriptor, line)
        self._is_line_open = written < len(line)
        if self._is_line_open:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self._path)


class JournalOutput:
    """Entries in the systemd journal, each data key a field that `journalctl` can be asked for."""

    def __init__(self, stream: TextIO, *, socket_path: str) -> None:
        self._journal = journald.Journal(socket_path)
        self._fallback = StreamOutput(stream, _prefixed(json_renderer(is_ascii=True)))

    def write(self, records: Sequence[Record]) -> None:
        """Hand events to the journal; where it is absent, write them with their priority for whoever reads stdout."""
        for record in records:
            try:
                self._journal.send(list(_fields(record)))
            except OSError:
                self._fallback.write([record])

    def close(self) -> None:
        """Close the socket."""
        self._journal.close()


def _pieces(lines: Iterable[str]) -> Iterator[str]:
    """Join lines into pieces that cost one system call each, and that a pipe takes whole (pipe(7), PIPE_BUF).

    More would also outgrow the buffer in which Python keeps what a full disk refuses: a line would be torn there.
    """
    piece = ""
    for line in lines:
        if piece and len(piece) + len(line) > _PIECE_LENGTH:
            yield piece
            piece = ""
        piece += line
    if piece:
        yield piece


def _prefixed(render: Render) -> Render:
    """Put the priority in front, as systemd reads it from stdout (sd-daemon(3))."""
    return lambda record: f"<{_PRIORITIES[record.level]}>{render(record)}"


def _fields(record: Record) -> Iterator[tuple[str, str]]:
    sentence = sentence_of(record)
    yield "MESSAGE", f"{sentence.label} {sentence.whole}"
    yield "PRIORITY", str(_PRIORITIES[record.level])
    yield "SYSLOG_IDENTIFIER", "lorawatch"
    yield "LORAWATCH_EVENT", record.event.value
    if record.call_site is not None:
        yield "CODE_FILE", record.call_site.file
        yield "CODE_LINE", str(record.call_site.line)
        yield "CODE_FUNC", record.call_site.function
    for key, value in record.data.items():
        for each in value if isinstance(value, list) else [value]:  # a field may have several values
            if each is not None:
                yield f"LORAWATCH_{key.upper()}", each if isinstance(each, str) else json.dumps(each)
