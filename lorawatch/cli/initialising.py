"""`init`: write a first configuration from what is found on this machine."""

import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from lorawatch.cli import EXIT_INTERRUPTED, options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lorawatch.finding.survey import Found
    from lorawatch.finding.usual import Place
    from lorawatch.first_configuration import First

STDOUT = "-"


def init(
    output: Annotated[
        str | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="Where to write it; - prints it. Default: where it is read."
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there already.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing: take the likeliest.")] = False,
    watch: options.Watch = None,
    to: options.To = None,
    config: options.Config = None,
    log_format: options.LogFormat = None,  # noqa: ARG001 every command takes it
    log_level: options.LogLevel = None,  # noqa: ARG001
) -> None:
    """Write a configuration from what is found here: AI Toolkit's outputs, ComfyUI's LoRAs, running servers.

    It asks when it is in doubt, but only on a terminal. A file that is there already is left alone, unless --force.

    Example: lorawatch init, or to see it first: lorawatch init --output -
    """
    from lorawatch import first_choice, first_file
    from lorawatch.finding.survey import survey
    from lorawatch.finding.usual import Machine

    file = output or config or first_file.default_file(os.environ, is_root=os.geteuid() == 0)
    if file != STDOUT:
        first_file.refuse_existing(file, is_replacing=force)  # before anything is asked
    found = survey(Machine.of(os.environ))
    is_service = file == first_file.SYSTEM_FILE
    try:
        first = first_choice.choose(
            found,
            first_choice.Wish(watch or (), to),
            asker=None if yes or not _is_somebody_there() else _Terminal(),
            state_line=first_file.SERVICE_STATE_LINE if is_service else "",
            is_service=is_service,
        )
    except typer.Abort:  # Ctrl-C or Ctrl-D instead of an answer
        typer.echo("\nStopped; nothing was written.", err=True)
        raise typer.Exit(EXIT_INTERRUPTED) from None
    text = first_file.checked_text(first, file)
    if file == STDOUT:
        typer.echo(text, nl=False)
    else:
        first_file.write(file, text, is_replacing=force)
    _say(found, first, file)


def _is_somebody_there() -> bool:
    return sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()


class _Terminal:
    """Asks whoever sits in front of it; on stderr, so that stdout is only what was asked for."""

    def choose(self, question: str, places: "Sequence[Place]", *, is_several: bool) -> list[str]:
        typer.echo(f"\n{question}", err=True)
        for number, place in enumerate(places, 1):
            typer.echo(f"  {number}  {options.printable(place.path)}  ({options.printable(place.why)})", err=True)
        how = (
            "numbers or a directory"
            if is_several and places
            else "a number or a directory"
            if places
            else "a directory"
        )
        default = ("all" if is_several else "1") if places else ""
        while True:
            hint = "" if places else "; empty: decide later"
            answer = str(typer.prompt(f"{how}{hint}", default=default, show_default=bool(default), err=True)).strip()
            chosen = _chosen(answer, [place.path for place in places], is_several=is_several)
            if chosen is not None:
                return chosen
            typer.echo(f"{options.printable(answer)} is neither in the list nor a directory.", err=True)


def _chosen(answer: str, paths: "Sequence[str]", *, is_several: bool) -> list[str] | None:
    """Return the directories that an answer means; None if it means nothing."""
    if not answer:
        return []
    if answer == "all" and is_several:
        return list(paths)
    numbers = answer.replace(",", " ").split()
    if all(each.isdecimal() and 0 < int(each) <= len(paths) for each in numbers):
        return [paths[int(each) - 1] for each in dict.fromkeys(numbers)] if is_several or len(numbers) == 1 else None
    path = os.path.abspath(os.path.expanduser(answer))
    return [path] if os.path.isdir(path) else None


def _say(found: "Found", first: "First", file: str) -> None:
    """Tell on stderr what was found, what became of it, and what to do next."""
    from lorawatch import first_file
    from lorawatch.finding.survey import places_looked_at

    lines = [*(f"watches       {path}" for path in first.watch)] if not first.is_watch_guess else []
    for each in first.destinations if not first.is_destination_guess else ():
        where = dict(each.keys)
        place = where.get("directory") or where.get("url")
        lines.append(
            f"{'delivers to' if each.is_enabled else 'also found':<12}  {place}"
            + (f" ({each.why})" if each.why else "")
        )
    if found.servers.comfyui:
        lines.append(f"ComfyUI       answers at {found.servers.comfyui}")
    if first.is_guess:
        missing = [
            what
            for what, is_missing in (
                ("AI Toolkit's outputs", first.is_watch_guess),
                ("ComfyUI's LoRAs", first.is_destination_guess),
            )
            if is_missing
        ]
        lines.append(f"Not found: {' and '.join(missing)}. Looked at:")
        lines += [f"  {place}" for place in places_looked_at()]
    written = "" if file == STDOUT else f"Written: {options.printable(file)}"
    steps = first_file.next_steps(file, is_guess=first.is_guess, is_service=first.is_service)
    typer.echo("\n".join(options.printable(line) for line in filter(None, [*lines, written, *steps])), err=True)
