"""A command on a real pseudo-terminal: what it draws, what it does with keys, another size, and the terminal's end."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.process import PATIENCE_SECONDS, PROJECT

CONTROL = re.compile(r"\x1b(\[[0-9;?]*[A-Za-z]|[()][A-Z0-9]|[=>])")
ENTER_SCREEN, LEAVE_SCREEN = "\x1b[?1049h", "\x1b[?1049l"
SHOW_CURSOR = "\x1b[?25h"


class Terminal:
    """`lorawatch` on a terminal of this size; with `stdout`, only stdin and stderr are the terminal."""

    def __init__(
        self,
        tmp_path: Path,
        *words: str,
        columns: int = 100,
        rows: int = 40,
        environ: Mapping[str, str] | None = None,
        stdout: int | None = None,
    ) -> None:
        self._master, slave = pty.openpty()
        self._slave_name = os.ttyname(slave)
        self.resize(columns, rows)
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("LORAWATCH_")}
        for name in ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR"):
            inherited.pop(name, None)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "lorawatch", *words],
            stdin=slave,
            stdout=slave if stdout is None else stdout,
            stderr=slave,
            cwd=tmp_path,
            env={
                **inherited,
                "PYTHONPATH": str(PROJECT),
                "HOME": str(tmp_path),
                "TERM": "xterm-256color",
                "LANG": "C.UTF-8",
                "LORAWATCH_STATE_DIRECTORY": str(tmp_path / "state"),
                **(environ or {}),
            },
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # so that Ctrl-C on the terminal reaches it
        )
        os.close(slave)
        self._raw = ""
        self._is_hanging_up = False
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.hang_up()

    @property
    def raw(self) -> str:
        """Everything that was written, with its control sequences."""
        with self._changed:
            return self._raw

    @property
    def text(self) -> str:
        return CONTROL.sub("", self.raw).replace("\r", "")

    def wait_for(self, words: str, *, count: int = 1) -> str:
        """Return what was written, once these words have been in it so many times."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        with self._changed:
            while CONTROL.sub("", self._raw).count(words) < count:
                left = deadline - time.monotonic()
                if left <= 0 or (self.process.poll() is not None and not self._reader.is_alive()):
                    raise AssertionError(f"no {words!r} ({count} times), exit {self.process.poll()}:\n{self._raw!r}")
                self._changed.wait(min(left, 0.1))
            return self._raw

    def press(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    def resize(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def settings(self) -> list[object]:
        """Return the terminal's modes: a program that has ended leaves them as it found them."""
        return list(termios.tcgetattr(self._master))

    def hang_up(self) -> None:
        """Close the terminal, as when its window is closed."""
        self._is_hanging_up = True  # while somebody reads from it, closing it would end nothing
        self._reader.join(PATIENCE_SECONDS)
        master, self._master = self._master, -1
        if master >= 0:
            os.close(master)

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.process.pid, number)

    def wait(self) -> int:
        """Return the exit code, once all that was written has been read."""
        code = self.process.wait(PATIENCE_SECONDS)
        self._reader.join(PATIENCE_SECONDS)
        return code

    def _read(self) -> None:
        master = self._master
        pending = b""
        while not self._is_hanging_up:
            if not select.select([master], [], [], 0.05)[0]:
                continue
            try:
                piece = os.read(master, 65536)
            except OSError:  # EIO: nobody has the other end open any more
                piece = b""
            if not piece:
                return
            pending += piece
            try:
                text, pending = pending.decode(), b""
            except UnicodeDecodeError:
                continue  # cut within a character; the rest of it comes next
            with self._changed:
                self._raw += text
                self._changed.notify_all()
