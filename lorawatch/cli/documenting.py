"""`docs`: the README, section by section, without a browser. It comes from the installed package's own metadata.

The configuration with every key is one more section; it is printed as it stands, ready to be saved.
"""

import sys
from typing import Annotated

import typer

from lorawatch.cli import options
from lorawatch.packaged import packaged

EXAMPLE = "config.example.toml"


def _titles(incomplete: str) -> list[str]:
    """Complete a section's title on the command line."""
    from lorawatch.domain.errors import LorawatchError

    try:
        # As it was typed so far: whether capitals or not, shells offer only what begins so.
        found = [title for title in _sections() if title.lower().startswith(incomplete.lower())]
        return [f"{incomplete}{title[len(incomplete) :]}" for title in found]
    except LorawatchError:
        return []  # completion has no place for words; the command itself will say them


def docs(
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="TOPIC", autocompletion=_titles, help="Words of a section's title; or: all."),
    ] = None,
    config: options.Config = None,  # noqa: ARG001 every command takes it
    log_format: options.LogFormat = None,  # noqa: ARG001
    log_level: options.LogLevel = None,  # noqa: ARG001
) -> None:
    """Read the README here: a section by words of its title. Without a topic: the titles.

    Example: lorawatch docs permissions

    Example: lorawatch docs config.example.toml

    Example: lorawatch docs all | less
    """
    sections = _sections()
    if not words:
        typer.echo("\n".join(sections))
        return
    wanted = " ".join(words).lower()
    found = [text for title, text in sections.items() if wanted in title.lower()]
    if found == [sections[EXAMPLE]]:
        typer.echo(found[0], nl=False)
        return
    if wanted == "all":
        found = list(sections.values())[:1]  # the first title stands above all of it
    if not found:
        known = "; ".join(sections)
        raise typer.BadParameter(
            f"no section is called {options.name(wanted)!r}; there are: {known}", param_hint="TOPIC"
        )
    _print("\n".join(found))


def _sections() -> dict[str, str]:
    """Return the README's sections by their titles, each with those below it. Raises LorawatchError without README."""
    lines = [line for line in _readme().splitlines() if not line.startswith("<!--")]
    levels = [len(line) - len(line.lstrip("#")) if line.startswith("#") else 0 for line in lines]
    sections: dict[str, str] = {}
    for number, level in enumerate(levels):
        if level:
            ends = (later for later in range(number + 1, len(lines)) if 0 < levels[later] <= level)
            text = "\n".join(lines[number : next(ends, len(lines))])
            sections[lines[number].lstrip("# ")] = f"{text.rstrip()}\n"
    return {**sections, EXAMPLE: packaged(EXAMPLE).read_text("utf-8")}


def _readme() -> str:
    from importlib import metadata

    from lorawatch.domain.errors import LorawatchError

    try:
        described = metadata.distribution("lorawatch").read_text("METADATA") or ""
    except metadata.PackageNotFoundError:
        described = ""
    readme = described.partition("\n\n")[2]
    if not readme:
        raise LorawatchError(
            "this installation has no README with it", fix="it stands beside the source; each command has --help too"
        )
    return readme


def _print(text: str) -> None:
    """Print Markdown: rendered on a terminal, as it is elsewhere."""
    if not sys.stdout.isatty() or not options.is_coloured(sys.stdout):
        typer.echo(text)
        return
    from rich.console import Console
    from rich.markdown import Markdown

    Console(file=sys.stdout).print(Markdown(text))
