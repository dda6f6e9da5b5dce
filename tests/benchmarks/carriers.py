"""The competitors: each one carries finished files from its own source directory to its own destination directory."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, Self

from tests.benchmarks.daemon import Lorawatch
from tests.benchmarks.measuring import wait_until

LSYNCD_CONFIGURATION = """\
settings {{ nodaemon = true, inotifyMode = "CloseWrite", statusFile = "{directory}/lsyncd.status", \
statusInterval = 1 }}
sync {{ default.rsync, source = "{source}", target = "{destination}", delay = 0, delete = false }}
"""
COPY_AND_FLUSH = 'cp "$@" && for last; do :; done && sync "$last"*'  # the last argument is the destination


class Carrier(Protocol):
    """One way to get files from `source` to `destination`."""

    label: str
    source: str
    destination: str
    attic: str  # where files go that have served

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    def carry(self, paths: Sequence[str]) -> None:
        """Take notice that these files have just been closed. A daemon finds out by itself."""

    def is_done(self) -> bool:
        """Return whether everything beyond being visible (an fsync) is done as well."""


class Command:
    """A command that is started at the last close: no watcher could be faster with it."""

    def __init__(
        self,
        directory: str,
        label: str,
        command: Sequence[str],
        *,
        counts_until_exit: bool = False,
        takes_directory: bool = False,  # it is given the whole source directory, not the files
    ) -> None:
        self.label = label
        self.source, self.destination, self.attic = make_ends(directory, label)
        self._command = command
        self._counts_until_exit = counts_until_exit
        self._takes_directory = takes_directory
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.wait()

    def carry(self, paths: Sequence[str]) -> None:
        sources = [self.source] if self._takes_directory else paths
        self._process = subprocess.Popen([*self._command, *sources, f"{self.destination}/"])

    def is_done(self) -> bool:
        return not self._counts_until_exit or self._process is None or self._process.poll() is not None


class Lsyncd:
    """lsyncd without delay, with rsync, its usual method.

    Its other one, default.direct, cannot take part: it runs cp at the create event and again at the close, on the
    final name, so that a file which is there in full size is cut and written once more.
    """

    def __init__(self, directory: str) -> None:
        self.label = "lsyncd"
        self.source, self.destination, self.attic = make_ends(directory, self.label)
        self._status = os.path.join(os.path.dirname(self.source), "lsyncd.status")
        self._configuration = Path(self.source).parent / "lsyncd.conf.lua"
        self._configuration.write_text(
            LSYNCD_CONFIGURATION.format(
                directory=self._configuration.parent, source=self.source, destination=self.destination
            )
        )
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        command = ["lsyncd", str(self._configuration)]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        wait_until(lambda: os.path.exists(self._status), "lsyncd writes its status file", every_seconds=0.05)
        time.sleep(1.0)  # its first full rsync run; it says nothing when that is done
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait()

    def carry(self, paths: Sequence[str]) -> None:
        pass

    def is_done(self) -> bool:
        return True


class LorawatchCarrier:
    """`lorawatch run`, as a user starts it."""

    def __init__(self, directory: str, label: str = "lorawatch") -> None:
        self.label = label
        self.source, self.destination, self.attic = make_ends(directory, label)
        self.daemon = Lorawatch(
            watch=self.source, to=self.destination, directory=os.path.join(os.path.dirname(self.source), "daemon")
        )

    def __enter__(self) -> Self:
        self.daemon.start()
        self.daemon.wait_for("daemon.ready")
        return self

    def __exit__(self, *_: object) -> None:
        self.daemon.stop()

    def carry(self, paths: Sequence[str]) -> None:
        pass

    def is_done(self) -> bool:
        return True


def make_ends(directory: str, label: str) -> tuple[str, str, str]:
    """Make the source, the destination and the attic of one competitor."""
    home = os.path.join(directory, "".join(each if each.isalnum() else "-" for each in label))
    ends = os.path.join(home, "source"), os.path.join(home, "destination"), os.path.join(home, "attic")
    for end in ends:
        os.makedirs(end)
    return ends


def competitors(directory: str) -> tuple[list[Carrier], list[str]]:
    """Return every competitor that is installed, and a note for each one that is not."""
    carriers: list[Carrier] = [
        Command(directory, "cp", ["cp"]),
        Command(directory, "cp + fsync", ["sh", "-c", COPY_AND_FLUSH, "sh"], counts_until_exit=True),
    ]
    notes = []
    if shutil.which("rsync"):
        carriers.append(Command(directory, "rsync -a", ["rsync", "-a"]))
    else:
        notes.append("rsync is not installed: left out")
    if shutil.which("rclone"):
        command = ["rclone", "copy", "--config", ""]
        # Until it exits: it reserves the whole length at first, so that the size tells nothing.
        carriers.append(Command(directory, "rclone copy", command, counts_until_exit=True, takes_directory=True))
    else:
        notes.append("rclone is not installed: left out")
    if shutil.which("lsyncd") and shutil.which("rsync"):
        carriers.append(Lsyncd(directory))
    else:
        notes.append("lsyncd is not installed: left out, and with it the ratio that matters")
    carriers.append(LorawatchCarrier(directory))
    return carriers, notes
