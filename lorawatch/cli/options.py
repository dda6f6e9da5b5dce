"""The options that several commands share, and what they do. Imports nothing heavy."""

import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

if TYPE_CHECKING:
    from lorawatch.config import Config as Model
    from lorawatch.config import LogConfig as LogModel
    from lorawatch.config_loading import Loaded
    from lorawatch.status_rows import Row


def _one_of(*known: str) -> Callable[[str | None], str | None]:
    """Return what refuses a value that is none of these, as wrong usage."""

    def checked(value: str | None) -> str | None:
        if value is not None and value not in known:
            raise typer.BadParameter(f"{value!r} is none of {', '.join(known)}")
        return value

    return checked


def _offering(*known: str) -> Callable[[str], list[str]]:
    """Return what offers these values to a shell."""

    def offered(incomplete: str) -> list[str]:
        return [each for each in known if each.startswith(incomplete)]

    return offered


_LOG_FORMATS = ("auto", "json", "console", "journal")
_LOG_LEVELS = ("debug", "info", "warning", "error")

Config = Annotated[
    str | None,
    typer.Option("--config", metavar="FILE", help="Configuration file, instead of the first one found."),
]
LogFormat = Annotated[
    str | None,
    typer.Option(
        "--log-format",
        metavar="|".join(_LOG_FORMATS),
        callback=_one_of(*_LOG_FORMATS),
        autocompletion=_offering(*_LOG_FORMATS),
        help="How events are written.",
    ),
]
LogLevel = Annotated[
    str | None,
    typer.Option(
        "--log-level",
        metavar="|".join(_LOG_LEVELS),
        callback=_one_of(*_LOG_LEVELS),
        autocompletion=_offering(*_LOG_LEVELS),
        help="The least important events to write.",
    ),
]
Watch = Annotated[
    list[str] | None,
    typer.Option("--watch", metavar="DIR", help="Directory to watch; may be given several times."),
]
To = Annotated[
    str | None,
    typer.Option("--to", metavar="DIR", help="Directory to deliver to; with --watch no configuration file is needed."),
]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout, for scripts.")]


def load_configuration(
    config: str | None,
    log_format: str | None,
    log_level: str | None,
    *,
    watch: Sequence[str] = (),
    to: str | None = None,
) -> "Loaded":
    """Load the configuration; the options overrule the file and the environment."""
    from lorawatch.config_loading import load

    return load(config, environ=with_log_options(log_format, log_level), watch=list(watch), to=to)


def with_log_options(log_format: str | None, log_level: str | None) -> dict[str, str]:
    """Return the environment as the log options change it."""
    environ = dict(os.environ)
    if log_format is not None:
        environ["LORAWATCH_LOG__FORMAT"] = log_format
    if log_level is not None:
        environ["LORAWATCH_LOG__LEVEL"] = log_level
    return environ


def state_directory(config: str | None, log_format: str | None, log_level: str | None) -> str:
    """Return the state directory of the configuration; where there is no configuration, the default one."""
    from lorawatch.config_environment import default_state_directory
    from lorawatch.config_loading import find_file

    if config is None and find_file(None, environ=os.environ) is None:
        return os.environ.get("LORAWATCH_STATE_DIRECTORY") or default_state_directory(os.environ)
    return load_configuration(config, log_format, log_level).config.state_directory


def configuration_or_defaults(config: str | None, log_format: str | None, log_level: str | None) -> "Model":
    """Return the configuration, or where there is no file what the environment says: `check` needs none."""
    from lorawatch.config_loading import find_file, load_environment

    if config is None and find_file(None, environ=os.environ) is None:
        return load_environment(with_log_options(log_format, log_level))
    return load_configuration(config, log_format, log_level).config


def log_configuration(log_format: str, log_level: str) -> "LogModel":
    """Return the log settings of the options alone."""
    from lorawatch.config import LogConfig as Log

    return Log.model_validate({"format": log_format, "level": log_level})


def destination_names(context: typer.Context, incomplete: str) -> list[str]:
    """Complete the name of a destination on the command line; nothing where there is no usable configuration."""
    from lorawatch.domain.errors import LorawatchError

    try:
        destinations = load_configuration(context.params.get("config"), None, None).config.destinations
    except (LorawatchError, OSError):
        return []  # completion has no place for words; the command itself will say them
    return [each.name for each in destinations if each.enabled and each.name.startswith(incomplete)]


def delivery_numbers(context: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Complete a delivery's number, those that wait for a person first."""
    from lorawatch import status_report
    from lorawatch.domain.errors import LorawatchError

    try:
        directory = state_directory(context.params.get("config"), None, None)
        deliveries = [view.delivery for view in status_report.take(directory).deliveries]
    except (LorawatchError, OSError):
        return []  # as above
    return [
        (str(each.delivery_id), f"{each.state.value}: {printable(each.remote_name)} → {each.destination}")
        for each in sorted(deliveries, key=lambda each: each.state.value != "failed")
        if str(each.delivery_id).startswith(incomplete)
    ]


def print_json(document: Mapping[str, object]) -> None:
    """Print one JSON document on stdout, one line for each member of its lists; any name can be shown, with escapes.

    A list may come bit by bit: each member is put into words as soon as it comes, and nothing is printed before the
    last one has come.
    """
    typer.echo("{\n" + ",\n".join(f"{_json(key)}: {_json_value(value)}" for key, value in document.items()) + "\n}")


def _json_value(value: object) -> str:
    if isinstance(value, str | Mapping) or not isinstance(value, Iterable):
        return _json(value)
    members = [_json(member) for member in value]
    return "[\n" + ",\n".join(members) + "\n]" if members else "[]"


def _json(value: object) -> str:
    import json

    from lorawatch.event_record import plain

    return json.dumps(plain(value))


def printable(text: str) -> str:
    """Return words, on as many lines as they have, as text that any stream takes and that moves no cursor."""
    return "\n".join(map(name, text.split("\n")))


def name(text: str) -> str:
    """Return a name, or anything else that is to stay on one line, as text that any stream takes."""
    from lorawatch.event_record import decodable, one_line

    return one_line(decodable(text))


def terminal_size() -> tuple[int, int]:
    """Return the columns and rows of the terminal on stdout or stderr; a usual size where there is none."""
    for stream in (sys.stdout, sys.stderr):
        try:
            size = os.get_terminal_size(stream.fileno())
        except (OSError, ValueError):
            continue  # not a terminal, or closed
        if size.columns and size.lines:  # a pseudo-terminal that nobody sized has none
            return size.columns, size.lines
    return 80, 24


def is_redrawable(stream: TextIO) -> bool:
    """Return whether lines on a stream can be drawn anew in place."""
    from lorawatch import terminal

    return terminal.is_redrawable(stream, os.environ) and terminal.is_utf8(stream)


def is_coloured(stream: TextIO) -> bool:
    """Return whether a stream takes colours."""
    from lorawatch import terminal

    return terminal.is_coloured(stream, os.environ)


def print_rows(rows: "Iterable[Row]") -> None:
    """Print rows on stdout, in colours where they are wanted."""
    from lorawatch.terminal import styled

    is_wanted = is_coloured(sys.stdout)
    for row in rows:
        typer.echo("".join(styled(name(part.text), part.style, is_wanted=is_wanted) for part in row.parts).rstrip())


def wrapped(text: str, *, indent: str) -> str:
    """Return a text broken to the terminal's width; one line where stdout is none."""
    import textwrap

    if not sys.stdout.isatty():
        return indent + text
    columns = max(20, terminal_size()[0])
    return textwrap.fill(
        text, columns, initial_indent=indent, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
