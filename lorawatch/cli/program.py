"""The program: its commands, in the order a person meets them."""

import inspect
from typing import Annotated

import typer

from lorawatch import __version__
from lorawatch.cli import (
    checking,
    demonstrating,
    doctoring,
    documenting,
    explaining,
    initialising,
    retrying,
    running,
    sending,
    service,
    status,
    workflow,
)

program = typer.Typer(
    name="lorawatch",
    help="Watches AI Toolkit's outputs and delivers every finished LoRA to ComfyUI, verified.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Start with: lorawatch demo",
)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"lorawatch {__version__}")
        raise typer.Exit


@program.callback()
def _options(
    _: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")] = False,
    __: Annotated[bool, typer.Option("--debug", help="Show where in the program an error came from.")] = False,
) -> None:
    pass  # --debug is taken out of the arguments before they come here, wherever it stands


for command in (
    demonstrating.demo,
    initialising.init,
    doctoring.doctor,
    running.run,
    running.once,
    checking.check,
    sending.send,
    status.status,
    retrying.retry,
    workflow.workflow,
    explaining.explain,
    documenting.docs,
):
    program.command()(command)
program.add_typer(service.service)


def _unbroken(text: str) -> str:
    """Return a text with each paragraph on one line: it is broken anew, to the terminal's width."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))


for registered in (*program.registered_commands, *service.service.registered_commands):
    registered.help = _unbroken(inspect.getdoc(registered.callback) or "")
