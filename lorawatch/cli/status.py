"""`status`: what is in flight, what waits and why, what failed and what to do, what arrived."""

import time
from typing import TYPE_CHECKING, Annotated

import typer

from lorawatch.cli import EXIT_ATTENTION, options

if TYPE_CHECKING:
    from lorawatch.status_report import Report

WATCH_SECONDS = 1.0
_CLEAR_SCREEN = "\x1b[H\x1b[2J"


def status(
    watch: Annotated[bool, typer.Option("--watch", help="Keep showing it until interrupted.")] = False,
    as_json: options.Json = False,
    config: options.Config = None,
    log_format: options.LogFormat = None,
    log_level: options.LogLevel = None,
) -> None:
    """Show what is sent, what waits and why, what failed and what to do.

    Exit code 3: something needs a person.
    """
    from lorawatch.status_report import report

    if watch and as_json:
        raise typer.BadParameter("it is one document; leave out --watch", param_hint="--json")
    directory = options.state_directory(config, log_format, log_level)
    while True:
        current = report(directory)
        if as_json:
            options.print_json(current.document)
        else:
            _show(current, is_redrawn=watch)
        if not watch:
            break
        time.sleep(WATCH_SECONDS)
    if current.needs_person:
        raise typer.Exit(EXIT_ATTENTION)


def _show(current: "Report", *, is_redrawn: bool) -> None:
    if is_redrawn:
        typer.echo(_CLEAR_SCREEN, nl=False)
    typer.echo("\n".join(options.printable(line) for line in current.lines))
