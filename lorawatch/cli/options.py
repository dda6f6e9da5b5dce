"""The options that several commands share, and what they do. Imports nothing heavy."""

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from lorawatch.config import Config as Model
    from lorawatch.config import LogConfig as LogModel
    from lorawatch.config_loading import Loaded


def _one_of(*known: str) -> Callable[[str | None], str | None]:
    """Return what refuses a value that is none of these, as wrong usage."""

    def checked(value: str | None) -> str | None:
        if value is not None and value not in known:
            raise typer.BadParameter(f"{value!r} is none of {', '.join(known)}")
        return value

    return checked


Config = Annotated[
    str | None,
    typer.Option("--config", metavar="FILE", help="Configuration file, instead of the first one found."),
]
LogFormat = Annotated[
    str | None,
    typer.Option(
        "--log-format",
        metavar="auto|json|console|journal",
        callback=_one_of("auto", "json", "console", "journal"),
        help="How events are written.",
    ),
]
LogLevel = Annotated[
    str | None,
    typer.Option(
        "--log-level",
        metavar="debug|info|warning|error",
        callback=_one_of("debug", "info", "warning", "error"),
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


def print_json(document: object) -> None:
    """Print one JSON document on stdout; file names that are no UTF-8 are shown with escapes."""
    typer.echo(_json(document, indent=2))


def print_json_list(name: str, documents: Iterable[object]) -> None:
    """Print one JSON document on stdout that holds a list under this name, one line for each of its members.

    Each is put into words as soon as it comes; nothing is printed before the last one has come.
    """
    lines = [_json(document, indent=None) for document in documents]
    typer.echo(f'{{"{name}": [\n' + ",\n".join(lines) + "\n]}")


def _json(document: object, *, indent: int | None) -> str:
    import json

    from lorawatch.event_record import plain

    return json.dumps(plain(document), indent=indent)


def printable(text: str) -> str:
    """Return text that can be written to any stream."""
    from lorawatch.event_record import plain

    return str(plain(text))


@contextmanager
def progress_bar(label: str, size_bytes: int) -> Iterator[Callable[[int], None]]:
    """Give a function that takes the bytes done so far: a bar on a terminal's stderr, nothing elsewhere."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
    from rich.progress import TransferSpeedColumn as Speed

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), Speed(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(printable(label), total=size_bytes)
        yield lambda done: progress.update(task, completed=done)
