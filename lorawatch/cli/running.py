"""`run` and `once`: the daemon in the foreground, and one full pass."""

import os
import sys
from typing import TYPE_CHECKING, TextIO

import typer

from lorawatch.cli import EXIT_ATTENTION, EXIT_INTERRUPTED, options

if TYPE_CHECKING:
    from collections.abc import Callable

    from lorawatch.config_loading import Loaded
    from lorawatch.daemon import Daemon
    from lorawatch.signals import Signals


def run(
    watch: options.Watch = None,
    to: options.To = None,
    config: options.Config = None,
    log_format: options.LogFormat = None,
    log_level: options.LogLevel = None,
) -> None:
    """Watch, and deliver every finished LoRA, until stopped.

    Example: lorawatch run --watch /ai-toolkit/outputs --to /comfyui/models/loras
    """

    def load() -> "Loaded":
        return options.load_configuration(config, log_format, log_level, watch=watch or (), to=to)

    signals = _signals()
    with _daemon(load(), signals, load) as daemon:
        daemon.run()


def once(
    watch: options.Watch = None,
    to: options.To = None,
    config: options.Config = None,
    log_format: options.LogFormat = None,
    log_level: options.LogLevel = None,
) -> None:
    """Deliver what is there now, wait for the outcome, and stop.

    Exit code 3: something failed, waits, was rejected or could not be read, or a watched directory is not there.

    Example: lorawatch once --watch /ai-toolkit/outputs --to /comfyui/models/loras
    """
    from lorawatch.cli.bars import bars
    from lorawatch.in_flight import InFlight

    signals = _signals()
    loaded = options.load_configuration(config, log_format, log_level, watch=watch or (), to=to)
    in_flight = InFlight()
    with bars(in_flight.rows) as shown, _daemon(loaded, signals, None, shown.stream(sys.stdout)) as daemon:
        attention = daemon.run_once(in_flight.look) if shown.are_drawn else daemon.run_once()
    if signals.is_interrupted:
        typer.echo(_interrupted(attention), err=True)
        raise typer.Exit(EXIT_INTERRUPTED)
    if attention:
        raise typer.Exit(EXIT_ATTENTION)


def _interrupted(open_count: int) -> str:
    """Say what Ctrl-C has left, and how it goes on."""
    if not open_count:
        return "Stopped by Ctrl-C; nothing was left open."
    return (
        f"Stopped by Ctrl-C with {open_count} left open. Nothing is lost:"
        " the next `lorawatch once` or `lorawatch run` goes on from here."
    )


def _signals() -> "Signals":
    """Take the signals: before anything that takes its time, such as the imports of the daemon."""
    from lorawatch.signals import Signals

    signals = Signals()
    signals.listen()
    return signals


def _daemon(
    loaded: "Loaded", signals: "Signals", reload: "Callable[[], Loaded] | None", stream: TextIO | None = None
) -> "Daemon":
    from lorawatch import events
    from lorawatch.daemon import Daemon

    log = loaded.config.log
    events.configure(format=log.format, level=log.level, file=log.file, environ=os.environ, stream=stream)
    return Daemon(loaded, signals=signals, reload=reload)
