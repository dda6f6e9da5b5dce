"""Tell systemd how the daemon is: READY, STATUS, WATCHDOG, RELOADING, STOPPING (sd_notify(3)).

The main thread calls it. The protocol is one datagram of `KEY=value` lines to $NOTIFY_SOCKET, so no library is needed;
without that variable everything here does nothing. It never raises and never blocks.
"""

import os
import socket
import time
from collections.abc import Mapping

# Which of two would contradict each other in one datagram: the later one holds.
_REPLACES = {"READY": "RELOADING", "STOPPING": "READY"}

# systemd ignores a message of more than 4096 bytes (NOTIFY_BUFFER_MAX); a character has at most four.
_MAX_STATUS_CHARACTERS = 900


class Notifier:
    """The service manager's ear. What it could not take goes with the next message, so READY is never lost."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self._address = _address(environ.get("NOTIFY_SOCKET", ""))
        self._unsent: dict[str, str] = {}
        self._status = ""
        self.watchdog_interval_seconds = _watchdog_interval_seconds(environ) if self._address else None
        """How often `watchdog` is to be called: half of what the unit allows. None: nobody watches."""

    def ready(self) -> None:
        """Say that the daemon has started, or that a reload is done."""
        self._send(READY="1")

    def status(self, text: str) -> None:
        """Show a line in `systemctl status`. The same line again is not sent."""
        line = " ".join(text.encode("utf-8", "backslashreplace").decode().splitlines())[:_MAX_STATUS_CHARACTERS]
        if line != self._status:
            self._status = line
            self._send(STATUS=line)

    def watchdog(self) -> None:
        """Vouch for the daemon, where the unit has a watchdog."""
        if self.watchdog_interval_seconds is not None:
            self._send(WATCHDOG="1")

    def reloading(self) -> None:
        """Say that a reload has begun; `ready` ends it."""
        self._send(RELOADING="1", MONOTONIC_USEC=str(time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000))

    def stopping(self) -> None:
        """Say that the daemon ends."""
        self._send(STOPPING="1")

    def extend_timeout(self, seconds: float) -> None:
        """Ask for this much more time, from now, for the start, the reload or the stop under way."""
        self._send(EXTEND_TIMEOUT_USEC=str(int(seconds * 1_000_000)))

    def _send(self, **fields: str) -> None:
        if self._address is None:
            return
        for key in fields:
            self._unsent.pop(_REPLACES.get(key, ""), None)
        self._unsent |= fields
        message = "\n".join(f"{key}={value}" for key, value in self._unsent.items())
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as channel:
                channel.sendto(message.encode(), self._address)
        except OSError:
            return  # its queue is full, or it is just restarting: `_unsent` goes with the next message
        self._unsent.clear()


def _address(name: str) -> str | None:
    """Return the socket's address for Python: a path, or an abstract name after a NUL. None: no socket of this kind."""
    if name.startswith("@"):
        return f"\0{name[1:]}"
    return name if name.startswith("/") else None


def _watchdog_interval_seconds(environ: Mapping[str, str]) -> float | None:
    """Return half of $WATCHDOG_USEC, unless it is meant for another process (sd_watchdog_enabled(3))."""
    allowed, process = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
    if not allowed.isdecimal() or int(allowed) == 0 or (process and process != str(os.getpid())):
        return None
    return int(allowed) / 2_000_000
