"""`send`: deliver a file now."""

import io
import os
from typing import TYPE_CHECKING, Annotated

import typer

from lorawatch.cli import EXIT_ATTENTION, options

if TYPE_CHECKING:
    from lorawatch.by_hand import Sent


def send(
    files: Annotated[list[str], typer.Argument(metavar="FILE…", help="Files to deliver.")],
    to: Annotated[
        str | None,
        typer.Option("--to", metavar="NAME", help="One destination instead of all of them."),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option("--as", metavar="NAME", help="Name at the destination, instead of the template's."),
    ] = None,
    config: options.Config = None,
    log_format: options.LogFormat = None,
    log_level: options.LogLevel = None,
) -> None:
    """Deliver files now, also those outside of the watched directories.

    Example: lorawatch send ~/downloads/style.safetensors --to comfyui
    """
    import threading

    from lorawatch import events
    from lorawatch.app import routes_of
    from lorawatch.by_hand import deliver
    from lorawatch.domain.policy import RetrySettings
    from lorawatch.journal.database import Database
    from lorawatch.looking import examiner_of, look_at

    if name is not None:
        _refuse_bad_name(name, files)
    loaded = options.load_configuration(config, log_format, log_level).config
    # Its own words replace the events; whoever wants them asks for a log file.
    events.configure(format="json", level="info", environ=os.environ, file=loaded.log.file, stream=io.StringIO())
    journal = Database.open(loaded.state_directory)
    routes = [route for route in routes_of(loaded, journal) if to in (None, route.name)]
    if not routes:
        known = ", ".join(each.name for each in loaded.destinations if each.enabled)
        raise typer.BadParameter(f"no enabled destination is named {to!r}; there is: {known}", param_hint="--to")
    stop = threading.Event()
    examiner = examiner_of(loaded)
    retry = RetrySettings(loaded.retry.first_seconds, loaded.retry.max_seconds, loaded.retry.give_up_after_seconds)
    is_fine = True
    for file in files:
        verdict = look_at(file, examiner, lambda *_: None, stop)
        if not verdict.is_accepted:
            is_fine = False
            typer.echo(f"{options.printable(file)}: not sent ({verdict.code}): {verdict.reason}", err=True)
            continue
        with options.progress_bar(os.path.basename(file), verdict.size_bytes or 0) as report:
            results = deliver(verdict, routes, journal, name=name, retry=retry, stop=stop, report=report)
        for result in results:
            is_fine = _say(file, result) and is_fine
    if not is_fine:
        raise typer.Exit(EXIT_ATTENTION)


def _refuse_bad_name(name: str, files: list[str]) -> None:
    from lorawatch.domain.errors import DeliveryRefusedError
    from lorawatch.domain.planning import refuse_unsafe_name

    if len(files) > 1:
        raise typer.BadParameter("one name fits one file", param_hint="--as")
    try:
        refuse_unsafe_name(name)
    except DeliveryRefusedError as error:
        raise typer.BadParameter(error.message, param_hint="--as") from error


def _say(file: str, sent: "Sent") -> bool:
    """Say what became of one delivery; return whether it arrived."""
    delivery = sent.delivery
    where = f"{options.printable(file)} → {delivery.destination}:{options.printable(delivery.remote_name)}"
    if sent.code is None:
        typer.echo(f"{where}: delivered (proof: {sent.evidence})")
        return True
    typer.echo(f"{where}: not delivered ({sent.code}): {options.printable(sent.reason or '')}", err=True)
    typer.echo(
        f"  a running daemon tries it again by itself; by hand: lorawatch retry {delivery.delivery_id}", err=True
    )
    return False
