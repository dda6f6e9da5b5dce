"""Bars at the bottom of a terminal, redrawn in place below what else is written. Behind `send` and `once`.

They go to stderr, and only where that is a terminal; a thread of rich draws them. What is written meanwhile to a
terminal has to go through `stream`: it then appears above the bars, and garbles nothing.
"""

import io
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO, cast

from lorawatch.cli import options
from lorawatch.status_rows import Row

if TYPE_CHECKING:
    from rich.console import Console, Group

_REDRAWS_PER_SECOND = 6


class Bars:
    """The bars that are shown now. Without a terminal on stderr nothing is drawn, and streams stay as they are."""

    def __init__(self, console: "Console | None") -> None:
        self._console = console

    @property
    def are_drawn(self) -> bool:
        """Return whether anybody can see them."""
        return self._console is not None

    def stream(self, stream: TextIO) -> TextIO:
        """Return what to write to instead of a stream."""
        return stream if self._console is None or not stream.isatty() else cast("TextIO", _Above(stream, self._console))

    def say(self, text: str, *, err: bool = False) -> None:
        """Write a line to stdout or stderr."""
        stream = self.stream(sys.stderr if err else sys.stdout)
        stream.write(f"{text}\n")
        stream.flush()


@contextmanager
def bars(draw: Callable[[int], Sequence[Row]]) -> Iterator[Bars]:
    """Show the rows that `draw` returns for so many columns, again and again; it must be quick and thread-safe."""
    if not options.is_redrawable(sys.stderr):
        yield Bars(None)
        return
    from rich.console import Console
    from rich.live import Live

    from lorawatch.cli.screen import rich_rows

    console = Console(file=sys.stderr, highlight=False, markup=False, emoji=False)

    def drawn() -> "Group":
        console.size = options.terminal_size()
        return rich_rows(draw(console.width))

    with Live(
        console=console,
        transient=True,
        refresh_per_second=_REDRAWS_PER_SECOND,
        redirect_stdout=False,
        redirect_stderr=False,
        get_renderable=drawn,
        vertical_overflow="crop",
    ):
        yield Bars(console)


class _Above(io.TextIOBase):
    """A terminal's stream whose lines appear above the bars."""

    def __init__(self, stream: TextIO, console: "Console") -> None:
        self._stream = stream
        self._console = console

    @property
    def encoding(self) -> str:  # type: ignore[override]  # as every text stream that is open has one
        return self._stream.encoding

    def isatty(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._stream.fileno()

    def write(self, text: str) -> int:
        from rich.text import Text

        self._console.print(Text.from_ansi(text.removesuffix("\n")), soft_wrap=True)
        return len(text)
