"""`run` and `once`: the daemon in the foreground, and one full pass."""

import os
from typing import TYPE_CHECKING

import typer

from lorawatch.cli import EXIT_ATTENTION, options

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
    """
    signals = _signals()
    loaded = options.load_configuration(config, log_format, log_level, watch=watch or (), to=to)
    with _daemon(loaded, signals, None) as daemon:
        attention = daemon.run_once()
    if attention:
        raise typer.Exit(EXIT_ATTENTION)


def _signals() -> "Signals":
    """Take the signals: before anything that takes its time, such as the imports of the daemon."""
    from lorawatch.signals import Signals

    signals = Signals()
    signals.listen()
    return signals


def _daemon(loaded: "Loaded", signals: "Signals", reload: "Callable[[], Loaded] | None") -> "Daemon":
    from lorawatch import events
    from lorawatch.daemon import Daemon

    log = loaded.config.log
    events.configure(format=log.format, level=log.level, file=log.file, environ=os.environ)
    return Daemon(loaded, signals=signals, reload=reload)
