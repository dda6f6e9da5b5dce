"""`demo`: the life of one LoRA, on a fresh machine, in seconds."""

from typing import Annotated

import typer

from lorawatch.cli import EXIT_ATTENTION, options


def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Keep the directory it worked in.")] = False,
    config: options.Config = None,  # noqa: ARG001 every command takes it; the demo brings its own
    log_format: options.LogFormat = None,
    log_level: options.LogLevel = None,
) -> None:
    """Make a LoRA, drop it in a watched folder, and watch it arrive, verified.

    Needs no configuration and touches nothing outside of a directory of its own.

    Example: lorawatch demo --keep
    """
    import os

    from lorawatch import events
    from lorawatch.demonstration import demonstrate

    log = options.log_configuration(log_format or "console", log_level or "info")
    events.configure(format=log.format, level=log.level, environ=os.environ)
    if not demonstrate(typer.echo, is_kept=keep):
        raise typer.Exit(EXIT_ATTENTION)
