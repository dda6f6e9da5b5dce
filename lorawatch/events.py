"""Events: what lorawatch says while it works, as JSON, as sentences on a console, or as entries of the journal.

Every thread calls `emit`; the main thread calls `configure` at the start and on reload. Until then nothing is
written. An event never raises and never starts work: the journal is the truth, this is only how people hear of it.
Not for signal handlers, which could interrupt `emit` and then wait for its lock.
"""

import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Literal, TextIO, TypeAlias

from lorawatch.lean_structlog import structlog  # isort: skip  before anything else imports structlog
from structlog.processors import CallsiteParameter, CallsiteParameterAdder
from structlog.typing import EventDict, FilteringBoundLogger, Processor

from lorawatch import journald
from lorawatch.event_console import ConsoleRenderer
from lorawatch.event_names import LEVELS, Event, Level
from lorawatch.event_outputs import (
    FileOutput,
    JournalOutput,
    Output,
    StreamOutput,
    json_renderer,
)
from lorawatch.event_record import CallSite, Record, plain
from lorawatch.terminal import is_coloured, is_utf8

__all__ = ["Event", "configure", "emit", "together"]

Format: TypeAlias = Literal["auto", "json", "console", "journal"]

_NUMBERS: dict[str, int] = {"debug": 10, "info": 20, "warning": 30, "error": 40}  # those of structlog and logging
_OWN_KEYS = frozenset({"timestamp", "level", "event"})


class _Outputs:
    """Hands each record to all outputs, one at a time: what structlog calls the logger."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._outputs: Sequence[Output] = ()
        self._local = threading.local()  # `group`: what this thread has said so far of a group

    def info(self, record: Record) -> None:
        group: list[Record] | None = getattr(self._local, "group", None)
        if group is None:
            self._write((record,))
        else:
            group.append(record)

    debug = warning = error = info

    @contextmanager
    def group(self) -> Iterator[None]:
        records: list[Record] = []
        self._local.group = records
        try:
            yield
        finally:
            self._local.group = None
            self._write(records)

    def _write(self, records: Sequence[Record]) -> None:
        with self._lock:
            for output in self._outputs:
                output.write(records)

    def replace(self, outputs: Sequence[Output]) -> None:
        with self._lock:
            before, self._outputs = self._outputs, outputs
            for output in before:
                output.close()


def emit(event: Event, /, **data: object) -> None:
    """Say that something happened. Thread-safe; never raises.

    `level="debug"` (or another) replaces the event's own level. Values may be anything; bytes of a file name that
    are no UTF-8 are shown as escapes.
    """
    asked = data.pop("level", None)
    level = asked if isinstance(asked, str) and asked in _NUMBERS else LEVELS[event]
    _logger.log(_NUMBERS[level], event, data=data)


def together() -> AbstractContextManager[None]:
    """Write what this thread says inside at once: for a loop over a group's events, in which nothing else is done.

    A burst of 200 files is told in a tenth of the system calls. Not to be nested.
    """
    return _outputs.group()


def configure(
    *,
    format: Format,  # noqa: A002 the name of the configuration's key
    level: Level,
    environ: Mapping[str, str],
    file: str = "",
    stream: TextIO | None = None,
    journal_socket: str = journald.SOCKET,
) -> None:
    """Set where events go and how. Callable again at any time: no event is lost on the way.

    `stream` defaults to stdout and stays its owner's. `auto` is the journal where systemd connected the stream or
    stderr to it, sentences on a terminal, else JSON. `file` also gets every event, as JSON.
    """
    global _logger
    stream = stream or sys.stdout
    chosen = _chosen(format, stream, environ)
    outputs = [_output(chosen, stream, environ, journal_socket)]
    if file:
        outputs.append(_file_output(file, outputs[0]))
    _outputs.replace(outputs)
    _logger = _make_logger(level, is_call_site_wanted=chosen == "journal")


def _chosen(format_: Format, stream: TextIO, environ: Mapping[str, str]) -> Format:
    if format_ != "auto":
        return format_
    if journald.is_connected((stream, sys.stderr), environ):
        return "journal"
    return "console" if stream.isatty() else "json"


def _output(chosen: Format, stream: TextIO, environ: Mapping[str, str], journal_socket: str) -> Output:
    if chosen == "journal":
        return JournalOutput(stream, socket_path=journal_socket)
    if chosen == "json":
        return StreamOutput(stream, json_renderer(is_ascii=not is_utf8(stream)))
    return StreamOutput(stream, ConsoleRenderer(stream, is_coloured=is_coloured(stream, environ)))


def _file_output(path: str, other: Output) -> Output:
    """Return the output to the log file, which tells its trouble to the other one."""

    def tell(error: OSError) -> None:
        reason = f"could not write the log file {path}: {error.strerror or error}"
        data = {"code": "log-file-unusable", "reason": plain(reason)}
        event = Event.DAEMON_DEGRADED
        other.write([Record(time.time(), LEVELS[event], event, data)])

    return FileOutput(path, on_trouble=tell)


def _make_logger(level: str, *, is_call_site_wanted: bool = False) -> FilteringBoundLogger:
    processors: list[Processor] = [_as_record]
    if is_call_site_wanted:
        where = (CallsiteParameter.PATHNAME, CallsiteParameter.LINENO, CallsiteParameter.FUNC_NAME)
        processors.insert(0, CallsiteParameterAdder(where, additional_ignores=[__name__]))
    wrapper = structlog.make_filtering_bound_logger(level)
    proxy = structlog.wrap_logger(_outputs, processors, wrapper_class=wrapper, context_class=dict)
    logger: FilteringBoundLogger = proxy.bind()
    return logger


def _as_record(_: object, level: str, event_dict: EventDict) -> tuple[tuple[Record], dict[str, object]]:
    """Turn what `emit` was given into the record that the outputs are called with."""
    call_site = None
    if "pathname" in event_dict:
        call_site = CallSite(event_dict["pathname"], event_dict["lineno"], event_dict["func_name"])
    data = {key: plain(value) for key, value in event_dict["data"].items() if key not in _OWN_KEYS}
    return (Record(time.time(), level, event_dict["event"], data, call_site),), {}  # type: ignore[arg-type]  # a Level


_outputs = _Outputs()
_logger = _make_logger("critical")
