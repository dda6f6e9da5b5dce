"""Other programs with a stream: feed one from a file, or read what it gives, in memory that does not grow with either.

The docker destination calls it on lane threads. It never uses a shell, starts no thread, and leaves no process behind:
whatever ends the stream ends the program. It runs in a session of its own, so that a Ctrl-C meant for us does not
reach it first.
"""

import os
import selectors
import subprocess
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import IO

from lorawatch.domain.errors import StoppedError
from lorawatch.domain.ports import Stop
from lorawatch.transport.process import NOT_FOUND, TIMED_OUT, Finished

STALL_SECONDS = 60.0  # a stream that moves no byte for so long is dead
_TICK_SECONDS = 0.2  # how soon a stop is noticed while nothing moves
_PIECE_BYTES = 1 << 20
_MOST_WORDS_BYTES = 1 << 16  # of what is kept from stderr, and from stdout by `feed`


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a program may be silent once it has been given everything, and who is told meanwhile."""

    seconds: float = STALL_SECONDS
    heartbeat: Callable[[], object] = bool


def feed(
    arguments: list[str], blocks: Iterable[memoryview | bytes], *, stop: Stop, patience: Patience | None = None
) -> Finished:
    """Run a program with these blocks as its stdin and return what it left; its words are kept up to 64 KiB.

    A block is asked for when the one before it is written. A program that ends early is no error here. Raises
    StoppedError, and whatever the blocks raise.
    """
    said = bytearray()
    pieces = stream(arguments, blocks, stop=stop, patience=patience)
    while True:
        try:
            piece = next(pieces)
        except StopIteration as end:
            finished: Finished = end.value
            return Finished(finished.exit_code, _text(said), finished.stderr)
        said += piece[: _MOST_WORDS_BYTES - len(said)]


def stream(
    arguments: list[str], blocks: Iterable[memoryview | bytes] = (), *, stop: Stop, patience: Patience | None = None
) -> Generator[bytes, None, Finished]:
    """Run a program and yield its stdout in pieces; return its exit code and stderr. Closing it ends the program."""
    try:
        process = subprocess.Popen(
            arguments,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
        )
    except FileNotFoundError:
        return Finished(NOT_FOUND, "", f"{arguments[0]} is not installed")
    with process:
        try:
            return (yield from _Pump(process, iter(blocks), stop, patience or Patience()).run())
        finally:
            process.kill()  # nothing happens to one that has ended


class _Pump:
    """Moves bytes in and out of one program until it has closed both of its outputs."""

    def __init__(
        self, process: "subprocess.Popen[bytes]", blocks: Iterator[memoryview | bytes], stop: Stop, patience: Patience
    ) -> None:
        self._process = process
        self._blocks = blocks
        self._stop = stop
        self._patience = patience
        self._left = memoryview(b"")
        self._words = bytearray()
        self._selector = selectors.DefaultSelector()
        self._moved_at = time.monotonic()

    def run(self) -> Generator[bytes, None, Finished]:
        with self._selector:
            for pipe, event in (
                (self._process.stdin, selectors.EVENT_WRITE),
                (self._process.stdout, selectors.EVENT_READ),
                (self._process.stderr, selectors.EVENT_READ),
            ):
                os.set_blocking(_opened(pipe).fileno(), False)
                self._selector.register(_opened(pipe), event)
            while self._is_open(self._process.stdout) or self._is_open(self._process.stderr):
                piece = self._turn()
                if piece:
                    yield piece
                    self._moved_at = time.monotonic()  # however long whoever reads it took
                if self._is_stalled():
                    return self._timed_out()
            self._close(self._process.stdin)
        try:
            return Finished(self._process.wait(STALL_SECONDS), "", _text(self._words))
        except subprocess.TimeoutExpired:
            return self._timed_out()

    def _turn(self) -> bytes:
        """Do what can be done now; return what the program gave."""
        ready = self._selector.select(_TICK_SECONDS)
        if self._stop.is_set():
            raise StoppedError(f"stopped in the middle of {self._process.args[0]!r}")  # type: ignore[index]  # a list
        if not self._is_open(self._process.stdin):
            self._patience.heartbeat()
        given = b""
        for key, _ in ready:
            self._moved_at = time.monotonic()
            if key.fileobj is self._process.stdin:
                self._write()
            elif key.fileobj is self._process.stdout:
                given = self._read(self._process.stdout)
            else:
                self._words += self._read(self._process.stderr)
                del self._words[:-_MOST_WORDS_BYTES]
        return given

    def _write(self) -> None:
        try:
            if not self._left:
                self._left = memoryview(next(self._blocks))
            self._left = self._left[os.write(_opened(self._process.stdin).fileno(), self._left) :]
        except (StopIteration, BrokenPipeError):  # it ended before it had everything: its words say why
            self._close(self._process.stdin)

    def _read(self, pipe: IO[bytes] | None) -> bytes:
        piece = os.read(_opened(pipe).fileno(), _PIECE_BYTES)
        if not piece:
            self._close(pipe)
        return piece

    def _close(self, pipe: IO[bytes] | None) -> None:
        if self._is_open(pipe):
            self._selector.unregister(_opened(pipe))
            _opened(pipe).close()

    @staticmethod
    def _is_open(pipe: IO[bytes] | None) -> bool:
        return not _opened(pipe).closed

    def _is_stalled(self) -> bool:
        is_fed = not self._is_open(self._process.stdin)
        return time.monotonic() - self._moved_at > (self._patience.seconds if is_fed else STALL_SECONDS)

    def _timed_out(self) -> Finished:
        return Finished(TIMED_OUT, "", f"it stood still for too long. {_text(self._words)}".rstrip())


def _opened(pipe: IO[bytes] | None) -> IO[bytes]:
    if pipe is None:
        msg = "the program was started without this pipe"
        raise RuntimeError(msg)
    return pipe


def _text(words: bytes | bytearray) -> str:
    return words.decode(errors="backslashreplace")
