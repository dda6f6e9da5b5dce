"""`workflow`: a ready-to-run ComfyUI graph for a LoRA, and on request the picture that it makes."""

import math
import os
import re
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from lorawatch.cli import EXIT_ATTENTION, options

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lorawatch.composing import Composed, Request
    from lorawatch.domain.errors import LorawatchError
    from lorawatch.journal.database import Database
    from lorawatch.queueing import Progress

EXIT_INTERRUPTED = 130
_SIZE_WORDS = re.compile(r"(\d+)[xX](\d+)")
_SIDES = range(64, 8193, 8)  # what the nodes take, and what every model can draw


def _size(value: str | None) -> str | None:
    match = None if value is None else _SIZE_WORDS.fullmatch(value)
    if value is not None and (match is None or any(int(side) not in _SIDES for side in match.groups())):
        raise typer.BadParameter(f"{value!r} is no size such as 1024x1024, both sides multiples of 8 from 64 to 8192")
    return value


def _url(value: str) -> str:
    if value and not value.startswith(("http://", "https://")):
        raise typer.BadParameter(f"{value!r} is no address such as http://127.0.0.1:8188")
    return value


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise typer.BadParameter("it must be a number such as 0.8")
    return value


_Size = Annotated[
    str | None,
    typer.Option("--size", metavar="WxH", callback=_size, help="In pixels, instead of the family's usual size."),
]
_ComfyUIUrl = Annotated[
    str,
    typer.Option(
        "--comfyui-url", metavar="URL", callback=_url, help="Whose models to name; else a destination's comfyui_url."
    ),
]


def workflow(
    lora: Annotated[str, typer.Argument(metavar="LORA", help="A file, or the name under which one was delivered.")],
    prompt: Annotated[
        str, typer.Option("--prompt", metavar="TEXT", help="Said after the trigger words, which are added.")
    ] = "",
    strength: Annotated[
        float,
        typer.Option("--strength", metavar="X", min=-100, max=100, callback=_finite, help="0.8 to 1.0 is usual."),
    ] = 1.0,
    negative: Annotated[str, typer.Option("--negative", metavar="TEXT", help="What is not to be seen.")] = "",
    seed: Annotated[
        int, typer.Option("--seed", metavar="N", min=0, max=2**64 - 1, help="Other noise gives another picture.")
    ] = 42,
    steps: Annotated[
        int | None, typer.Option("--steps", metavar="N", min=1, max=10000, help="Instead of the family's usual number.")
    ] = None,
    size: _Size = None,
    family: Annotated[
        str | None,
        typer.Option("--family", metavar="NAME", help="Which it is, where `check` shows several or none."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", metavar="NAME", help="The base model's file, instead of the best that ComfyUI has."),
    ] = None,
    comfyui_url: _ComfyUIUrl = "",
    run: Annotated[bool, typer.Option("--run", help="Have ComfyUI compute it, wait, and save the picture.")] = False,
    output: Annotated[
        str, typer.Option("--output", metavar="DIR", help="Where --run saves; the current directory by default.")
    ] = ".",
    config: options.Config = None,
    log_format: options.LogFormat = None,
    log_level: options.LogLevel = None,
) -> None:
    """Write a ready-to-run ComfyUI workflow for a LoRA to stdout, with its trigger words, in API format.

    Example: lorawatch workflow cat_v2.safetensors --run
    """
    from lorawatch.composing import Request
    from lorawatch.domain.errors import ComfyUIError, WorkflowError
    from lorawatch.workflows.graph import Wishes

    if run and not (os.path.isdir(output) and os.access(output, os.W_OK | os.X_OK)):
        raise typer.BadParameter(f"{output} is no directory that may be written to", param_hint="--output")
    width, height = map(int, match.groups()) if (match := _SIZE_WORDS.fullmatch(size or "")) else (0, 0)
    wishes = Wishes(prompt, negative, strength, seed, steps, (width, height) if size else None)
    request = Request(lora, wishes, family=family, model=model, comfyui_url=comfyui_url, must_run=run)
    try:
        _answer(request, output, config, log_format, log_level)
    except (ComfyUIError, WorkflowError) as error:
        _explain(error, lora)
        raise typer.Exit(EXIT_ATTENTION) from error


def _answer(request: "Request", output: str, config: str | None, log_format: str | None, log_level: str | None) -> None:
    import json

    from lorawatch.composing import compose

    loaded = options.configuration_or_defaults(config, log_format, log_level)
    journal = _journal(options.state_directory(config, log_format, log_level), request.lora)
    composed = compose(request, loaded, journal)
    for note in composed.notes:
        typer.echo(f"lorawatch: note: {options.printable(note)}", err=True)
    if request.must_run:
        _run(composed, output)
    else:
        typer.echo(json.dumps(composed.workflow, indent=2))


def _journal(directory: str, lora: str) -> "Database | None":
    """Open the journal for reading; a file needs none, so for that one which may not be read counts as none."""
    from lorawatch.domain.errors import JournalError
    from lorawatch.journal.database import Database

    try:
        return Database.open_read_only(directory)
    except JournalError as error:
        if not os.path.lexists(lora):
            raise
        typer.echo(f"lorawatch: note: the name is the file's own: {options.printable(error.message)}", err=True)
        return None


def _run(composed: "Composed", output: str) -> None:
    """Have it computed, and print the path of each file that was made."""
    import threading

    from lorawatch import queueing

    if composed.comfyui is None:
        msg = "there is no ComfyUI to run it"
        raise RuntimeError(msg)
    comfyui = composed.comfyui
    try:
        with _bar() as report:
            images = queueing.compute(comfyui, composed.workflow, composed.pick, report=report, stop=threading.Event())
        for path in queueing.save(comfyui, images, output):
            typer.echo(options.printable(path))
    except KeyboardInterrupt:
        typer.echo(
            "lorawatch: not waiting any more. ComfyUI goes on by itself, and saves what it makes in its own output"
            f" directory, below lorawatch/.\n  To stop it there, open its queue: {comfyui.url}",
            err=True,
        )
        raise typer.Exit(EXIT_INTERRUPTED) from None


def _explain(error: "LorawatchError", lora: str) -> None:
    from lorawatch.domain.codes import cure_of, words_for

    cure = error.fix or cure_of(error.code, words_for(lora))
    typer.echo(f"lorawatch: {options.printable(error.message)} ({error.code})", err=True)
    if cure:
        typer.echo(f"  what to do: {options.printable(cure)}", err=True)


@contextmanager
def _bar() -> "Iterator[Callable[[Progress], None]]":
    """Give a function that shows how far ComfyUI is: a bar on a terminal's stderr, else a line for each change."""
    if not sys.stderr.isatty():
        started, said = time.monotonic(), set[str]()

        def say(progress: "Progress") -> None:
            if (words := _words(progress)) not in said:
                said.add(words)
                typer.echo(f"lorawatch: {words}", err=True)

        yield say
        typer.echo(f"lorawatch: computed after {time.monotonic() - started:.0f} s", err=True)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task("queued", total=None)
        yield lambda progress: shown.update(
            task, description=_words(progress), completed=progress.done, total=progress.total or None
        )


def _words(progress: "Progress") -> str:
    if progress.is_silent:
        return "ComfyUI does not answer at the moment"
    if progress.node:
        return f"computing: {progress.node}"
    return f"queued, with {progress.waiting_for} others" if progress.waiting_for else "computing"
