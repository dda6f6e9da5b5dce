"""`retry`: put deliveries back into the queue."""

from typing import Annotated

import typer

from lorawatch.cli import EXIT_ATTENTION, options

LARGEST_ID = (1 << 63) - 1  # what SQLite takes as a number


def retry(
    ids: Annotated[
        list[int] | None,
        typer.Argument(metavar="ID", autocompletion=options.delivery_numbers, help="Delivery numbers, see status."),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Everything that failed or waits.")] = False,
    config: options.Config = None,
    log_format: options.LogFormat = None,
    log_level: options.LogLevel = None,
) -> None:
    """Deliver again: what failed, or any delivery by its number. A running daemon begins within 2 seconds.

    Exit code 3: there is no delivery of such a number.

    Example: lorawatch retry 17
    """
    import time

    from lorawatch.journal import upkeep
    from lorawatch.journal.database import Database

    if bool(ids) == everything:
        raise typer.BadParameter("give delivery numbers or --all", param_hint="ID")
    directory = options.state_directory(config, log_format, log_level)
    existing = Database.open_read_only(directory)
    if existing is None:
        typer.echo(f"Nothing to retry: there is no journal in {options.printable(directory)}.", err=True)
        raise typer.Exit(0 if everything else EXIT_ATTENTION)
    existing.close()
    database = Database.open_beside(directory)
    asked = None if everything else sorted({each for each in ids or () if 0 < each <= LARGEST_ID})
    with database.write() as connection:
        put_back = upkeep.retry(connection, asked, now=time.time())
        under_way = upkeep.being_sent(connection, asked or ())
    if put_back or everything:
        typer.echo(_outcome(len(put_back), directory))
    if under_way:
        typer.echo(f"Being sent right now: {', '.join(map(str, under_way))}", err=True)
    if unknown := sorted(set(ids or ()).difference(put_back, under_way)):
        said = f"No delivery has the number {', '.join(map(str, unknown))}; lorawatch status shows which there are"
        typer.echo(said, err=True)
        raise typer.Exit(EXIT_ATTENTION)


def _outcome(count: int, directory: str) -> str:
    from lorawatch import humanize
    from lorawatch.journal.lock import is_locked

    if not count:
        return "Nothing to put back: no delivery has failed or waits."
    who = "the running daemon" if is_locked(directory) else "the next lorawatch run or once"
    return f"{humanize.count(count, 'delivery')} put back; {who} goes on with that."
