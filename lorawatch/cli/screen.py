"""A full-screen view that is drawn again and again until a person ends it, or the terminal goes away.

`status --watch` runs it on the main thread. It draws on the alternate screen, so that what was there comes back, and
only rows, never more than there are: nothing scrolls and nothing flickers.
"""

import errno
import os
import select
import signal
import sys
import termios
import tty
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

from lorawatch.cli import options
from lorawatch.status_rows import Row

if TYPE_CHECKING:
    from rich.console import Group

_END_KEYS = frozenset(b"qQ\x04")
_ESCAPE = b"\x1b"  # alone it is the key; before others it is what an arrow key sends
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_STYLES = {"good": "green", "warning": "yellow", "error": "red", "strong": "bold", "dim": "dim", "": ""}


def show(draw: Callable[[int, int], Sequence[Row]], *, every_seconds: float) -> None:
    """Draw what `draw` returns for these columns and rows, until q, Ctrl-C, SIGTERM or SIGHUP."""
    from rich.console import Console
    from rich.live import Live

    console = Console(file=sys.stdout, highlight=False, markup=False, emoji=False)

    def drawn() -> "Group":
        columns, height = options.terminal_size()
        console.size = (columns, height)
        return rich_rows(draw(columns, height))

    try:
        with waiting() as is_ended, Live(console=console, screen=True, auto_refresh=False) as live:
            while True:
                live.update(drawn(), refresh=True)
                if is_ended(every_seconds):
                    return
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        # The terminal is gone, and with it whoever was looking.


def rich_rows(rows: Sequence[Row]) -> "Group":
    """Return rows for rich, each one line that is never broken."""
    from rich.console import Group
    from rich.text import Text

    def text_of(row: Row) -> Text:
        parts = [(part.text, _STYLES[part.style]) for part in row.parts]
        return Text.assemble(*parts, no_wrap=True, overflow="crop")

    return Group(*map(text_of, rows))


@contextmanager
def waiting() -> Iterator[Callable[[float], bool]]:
    """Give what waits so many seconds, or until the window has another size; it returns whether to end."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)

    def on_signal(number: int, _: FrameType | None) -> None:
        try:
            os.write(writer, b"w" if number == signal.SIGWINCH else b"q")
        except BlockingIOError:
            pass  # it is full of the same news

    before = {number: signal.signal(number, on_signal) for number in (*_ENDING, signal.SIGWINCH)}
    poll = select.poll()
    poll.register(reader, select.POLLIN)
    poll.register(sys.stdout.fileno(), 0)  # POLLERR: nobody reads the pipe any more; POLLHUP: the terminal is gone
    try:
        with _single_keys() as keyboard:
            if keyboard is not None:
                poll.register(keyboard, select.POLLIN)
            yield lambda seconds: _is_ended(poll, reader, keyboard, seconds)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(reader)
        os.close(writer)


def _is_ended(poll: select.poll, reader: int, keyboard: int | None, seconds: float) -> bool:
    for descriptor, event in poll.poll(seconds * 1000):
        if descriptor == reader:
            if b"q" in os.read(reader, 64):
                return True
        elif descriptor == keyboard and event & select.POLLIN:
            pressed = os.read(keyboard, 64)
            if pressed in {b"", _ESCAPE} or (not pressed.startswith(_ESCAPE) and _END_KEYS & set(pressed)):
                return True
        else:
            return True
    return False


@contextmanager
def _single_keys() -> Iterator[int | None]:
    """Take keys without Enter and without showing them; None where there is no keyboard."""
    try:
        descriptor = sys.stdin.fileno()
        before = termios.tcgetattr(descriptor)
    except (AttributeError, OSError, ValueError, termios.error):
        yield None
        return
    tty.setcbreak(descriptor)
    try:
        yield descriptor
    finally:
        try:
            termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
        except termios.error:
            pass  # the terminal is gone
