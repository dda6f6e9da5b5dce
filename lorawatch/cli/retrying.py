"""`retry`: put deliveries back into the queue."""

from typing import Annotated

import typer

from lorawatch.cli import options

LARGEST_ID = (1 << 63) - 1  # what SQLite takes as a number


def retry(
    ids: Annotated[
        list[int] | None,
        typer.Argument(metavar="ID…", autocompletion=options.delivery_numbers, help="Delivery numbers, see status."),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Everything that failed or waits.")] = False,
    config: options.Config = None,
    log_format: options.LogFormat = None,
    log_level: options.LogLevel = None,
) -> None:
    """Deliver again: what failed, or any delivery by its number. A running daemon begins within 2 seconds.

    Example: lorawatch retry 17
    """
    import time

    from lorawatch.journal import upkeep
    from lorawatch.journal.database import Database
    from lorawatch.journal.lock import is_locked

    if bool(ids) == everything:
        raise typer.BadParameter("give delivery numbers or --all", param_hint="ID")
    directory = options.state_directory(config, log_format, log_level)
    existing = Database.open_read_only(directory)
    if existing is None:
        typer.echo(f"Nothing to retry: there is no journal in {directory}.", err=True)
        return
    existing.close()
    database = Database.open_beside(directory)
    known = None if everything else [each for each in ids or () if 0 < each <= LARGEST_ID]
    with database.write() as connection:
        put_back = upkeep.retry(connection, known, now=time.time())
    unknown = sorted(set(ids or ()) - set(put_back))
    if unknown:
        typer.echo(f"Not put back, unknown or being sent right now: {', '.join(map(str, unknown))}", err=True)
    who = "the running daemon takes them up" if is_locked(directory) else "the next run takes them up"
    typer.echo(f"{len(put_back)} deliver{'y' if len(put_back) == 1 else 'ies'} put back; {who}.")
