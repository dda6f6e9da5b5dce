"""`run` and `once`: the daemon in the foreground, and one full pass."""

import os
from typing import TYPE_CHECKING

import typer

from lorawatch.cli import EXIT_ATTENTION, options

if TYPE_CHECKING:
    from collections.abc import Callable

    from lorawatch.config_loading import Loaded
    from lorawatch.daemon import Daemon


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

    with _daemon(load(), load) as daemon:
        daemon.run()


def once(
    watch: options.Watch = None,
    to: options.To = None,
    config: options.Config = None,
    log_format: options.LogFormat = None,
    log_level: options.LogLevel = None,
) -> None:
    """Deliver what is there now, wait for the outcome, and stop.

    Exit code 3: something failed, waits, was rejected or could not be read.
    """
    loaded = options.load_configuration(config, log_format, log_level, watch=watch or (), to=to)
    with _daemon(loaded, None) as daemon:
        attention = daemon.run_once()
    if attention:
        raise typer.Exit(EXIT_ATTENTION)


def _daemon(loaded: "Loaded", reload: "Callable[[], Loaded] | None") -> "Daemon":
    from lorawatch import events
    from lorawatch.daemon import Daemon

    log = loaded.config.log
    events.configure(format=log.format, level=log.level, file=log.file, environ=os.environ)
    return Daemon(loaded, reload=reload)
