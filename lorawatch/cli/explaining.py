"""`explain`: what a code means, and what to do about it."""

import re
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from lorawatch.cli import options

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lorawatch.domain.codes import Code

_NEAREST = 3
_QUOTED = re.compile(r'"([^"]+)"')
_LEAST_WORD = 4  # shorter words are in every other cause


def _known_codes(incomplete: str) -> "list[tuple[str, str]]":
    """Complete a code on the command line, with its cause."""
    from lorawatch.domain.codes import CODES

    return [(each.code, each.cause) for each in CODES if each.code.startswith(incomplete)]


def explain(
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="CODE", autocompletion=_known_codes, help="Codes, or words of an error message."),
    ] = None,
    as_json: options.Json = False,
    config: options.Config = None,  # noqa: ARG001 every command takes it
    log_format: options.LogFormat = None,  # noqa: ARG001
    log_level: options.LogLevel = None,  # noqa: ARG001
) -> None:
    """Explain a code: its cause, and what to do. Without a code: all of them.

    The codes are those of events, status, check and doctor. Words of an error message are found too.

    Example: lorawatch explain destination-permission-denied

    Example: lorawatch explain "Value not in list"
    """
    from lorawatch.domain.codes import CODES, SECTIONS

    if words:
        phrase = " ".join(words)
        found = _of_message(phrase) if len(words) > 1 else []
        _print(found or dict.fromkeys(code for word in words for code in _meant(word)), as_json=as_json)
    elif as_json:
        _print(CODES, as_json=True)
    else:
        for title, codes in SECTIONS.items():
            typer.echo(f"{title}\n")
            _print(codes, as_json=False)


def _meant(word: str) -> "list[Code]":
    """Return the code of this name; else those whose cause contains these words."""
    import difflib

    from lorawatch.domain.codes import CODES, lookup

    known = lookup(word.strip().lower())
    if known is not None:
        return [known]
    if found := _of_message(word):
        return found
    near = difflib.get_close_matches(word.lower(), [each.code for each in CODES], _NEAREST)
    hint = f"did you mean {' or '.join(near)}?" if near else "see all of them with: lorawatch explain"
    raise typer.BadParameter(f"no code is called {options.printable(word)!r}; {hint}", param_hint="CODE")


def _of_message(message: str) -> "list[Code]":
    """Return the codes whose cause contains a message, or quotes words that are in it; or names its number."""
    from lorawatch.domain.codes import CODES

    said = message.strip().lower()
    if len(said) < _LEAST_WORD and not said.isdecimal():
        return []
    if found := [each for each in CODES if said in each.cause.lower()]:
        return found
    words = _words_of(said)  # programs word it in one way today and in another tomorrow
    return [each for each in CODES if any(_words_of(quoted) <= words for quoted in _QUOTED.findall(each.cause.lower()))]


def _words_of(text: str) -> set[str]:
    return set(re.findall(r"\w+", text))


def _print(codes: "Iterable[Code]", *, as_json: bool) -> None:
    if as_json:
        options.print_json({"codes": [each._asdict() for each in codes]})
        return
    from lorawatch.terminal import styled

    is_coloured = options.is_coloured(sys.stdout)
    for each in codes:
        typer.echo(styled(each.code, "strong", is_wanted=is_coloured))
        typer.echo(options.wrapped(each.cause, indent="  "))
        typer.echo(options.wrapped(f"→ {each.cure}", indent="  ") + "\n")
