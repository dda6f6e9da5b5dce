"""Native entries for the systemd journal: through systemd-python where it is installed, else the protocol itself.

events.py calls it, under its lock. The protocol is one datagram, described at https://systemd.io/JOURNAL_NATIVE_PROTOCOL/:
`KEY=value` lines, a length before values that hold a line break, and a sealed memfd where the datagram would be too
large. It never falls back by itself: whatever cannot be handed over is raised, and events.py writes it elsewhere.
"""

import contextlib
import errno
import fcntl
import importlib
import os
import socket
import struct
from collections.abc import Iterable, Mapping, Sequence
from types import ModuleType
from typing import TextIO, TypeAlias

Fields: TypeAlias = Sequence[tuple[str, str]]  # a name may come several times

SOCKET = "/run/systemd/journal/socket"
# A journal that does not take an entry within this time is as good as absent; a watchdog interval is longer.
TIMEOUT_SECONDS = 5.0
_TOO_LARGE = {errno.EMSGSIZE, errno.ENOBUFS}
_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL


def is_connected(streams: Iterable[TextIO], environ: Mapping[str, str]) -> bool:
    """Return whether systemd has connected one of these streams to the journal (systemd.exec(5), $JOURNAL_STREAM)."""
    expected = environ.get("JOURNAL_STREAM")
    if not expected:
        return False
    for stream in streams:
        try:
            status = os.fstat(stream.fileno())
        except (OSError, ValueError):  # closed, or no file at all: then it is not the journal
            continue
        if f"{status.st_dev}:{status.st_ino}" == expected:
            return True
    return False


def encoded(fields: Fields) -> bytes:
    """Return an entry in the native protocol. The text must hold no surrogates."""
    parts = []
    for key, text in fields:
        value = text.encode()
        if b"\n" in value:
            parts.append(b"%s\n%s%s\n" % (key.encode(), struct.pack("<Q", len(value)), value))
        else:
            parts.append(b"%s=%s\n" % (key.encode(), value))
    return b"".join(parts)


class Journal:
    """The way to the journal. One thread at a time."""

    def __init__(self, socket_path: str = SOCKET) -> None:
        self._socket_path = socket_path
        self._library = _systemd_python() if socket_path == SOCKET else None
        self._socket: socket.socket | None = None

    def send(self, fields: Fields) -> None:
        """Hand over one entry. Raises OSError if the journal did not take it; blocks at most TIMEOUT_SECONDS."""
        if self._library is not None and os.path.exists(self._socket_path):  # it says success where there is no journal
            self._library.sendv(*(f"{key}={text}" for key, text in fields))
            return
        entry = encoded(fields)
        try:
            self._connected().sendto(entry, self._socket_path)
        except OSError as error:
            if error.errno not in _TOO_LARGE:
                raise
            self._send_by_file(entry)

    def close(self) -> None:
        """Give the socket back. Idempotent; `send` opens it again."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _connected(self) -> socket.socket:
        if self._socket is None:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._socket.settimeout(TIMEOUT_SECONDS)
        return self._socket

    def _send_by_file(self, entry: bytes) -> None:
        """Pass the entry in a file of memory. The journal only maps files that nobody can change any more."""
        descriptor = os.memfd_create("lorawatch-journal", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        with contextlib.closing(os.fdopen(descriptor, "wb", buffering=0)) as file:
            file.write(entry)
            fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
            ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", descriptor))]
            self._connected().sendmsg([], ancillary, 0, self._socket_path)


def _systemd_python() -> ModuleType | None:
    """Return the module that talks to libsystemd, where it is installed: an extra, because it needs a compiler."""
    try:
        return importlib.import_module("systemd.journal")
    except ImportError:  # not installed; in a checkout `systemd` alone would be found: the folder with the unit
        return None
