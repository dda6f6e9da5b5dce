"""`status`: what is in flight, what waits and why, what failed and what to do, what arrived."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from lorawatch.cli import EXIT_ATTENTION, options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lorawatch.status_report import Snapshot
    from lorawatch.status_rows import Row

WATCH_SECONDS = 1.0


def status(
    watch: Annotated[bool, typer.Option("--watch", help="Keep showing it; q or Ctrl-C ends.")] = False,
    as_json: options.Json = False,
    config: options.Config = None,
    log_format: options.LogFormat = None,
    log_level: options.LogLevel = None,
) -> None:
    """Show what is sent, what waits and why, what failed and what to do.

    Exit code 3: something needs a person.

    Example: lorawatch status --watch
    """
    from lorawatch import status_report

    if watch and as_json:
        raise typer.BadParameter("it is one document; leave out --watch", param_hint="--json")
    directory = options.state_directory(config, log_format, log_level)
    if as_json:
        snapshot = status_report.take(directory, is_whole=True)
        options.print_json(status_report.document(snapshot))
    elif watch:
        snapshot = _watch_screen(directory) if options.is_redrawable(sys.stdout) else _watch_lines(directory)
    else:
        snapshot = status_report.take(directory)
        _print(snapshot)
    if snapshot.needs_person:
        raise typer.Exit(EXIT_ATTENTION)


def _print(snapshot: "Snapshot") -> None:
    """Print it once: for a person on a terminal, else a line for each thing."""
    if sys.stdout.isatty():
        from lorawatch.status_board import rows

        options.print_rows(rows(snapshot, options.terminal_size()[0]))
    else:
        typer.echo("\n".join(_lines(snapshot)))


def _lines(snapshot: "Snapshot") -> list[str]:
    from lorawatch.status_plain import lines

    return [options.name(line) for line in lines(snapshot)]


def _watch_screen(directory: str) -> "Snapshot":
    """Redraw it in place; return what was shown last."""
    from lorawatch import status_report
    from lorawatch.cli.screen import show
    from lorawatch.status_board import rows
    from lorawatch.status_pulse import Pulsometer
    from lorawatch.status_rows import fitted, footer

    snapshot = status_report.take(directory)
    pulsometer = Pulsometer()

    def draw(columns: int, height: int) -> "Sequence[Row]":
        nonlocal snapshot
        snapshot = status_report.take(directory)
        board = fitted(rows(snapshot, columns, pulsometer.feel(snapshot)), height - 1)
        return footer(board, "q or Ctrl-C ends", snapshot.now, columns=columns, height=height)

    show(draw, every_seconds=WATCH_SECONDS)
    return snapshot


def _watch_lines(directory: str) -> "Snapshot":
    """Print it whenever it has changed, where nothing can be redrawn; return what was printed last."""
    from lorawatch import status_report
    from lorawatch.cli.screen import waiting

    shown: list[str] = []
    with waiting() as is_ended:
        while True:
            snapshot = status_report.take(directory)
            if (lines := _lines(snapshot)) != shown:
                typer.echo("\n".join([*([""] if shown else []), *lines]))
                shown = lines
            if is_ended(WATCH_SECONDS):
                return snapshot
