"""Connections whose answers must end: a time-out for each read alone lets a server drip a byte every ten seconds.

Mounted by http.py; it works on whatever thread makes the call. The answer as a whole, headers included, has the read
time-out, and more only as far as bytes really arrive.
"""

import http.client
import io
import socket
import time
from typing import Any

import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection

# What comes slower than this on average is given up: a listing takes no minutes, a download of 150 MB no four hours.
SLOWEST_BYTES_PER_SECOND = 16 << 10


class _DeadlineReader(io.RawIOBase):
    """Reads one answer from a socket until its time is over."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._raw = connection.makefile("rb", buffering=0)  # keeps the socket open as long as the answer is read
        self._patience = connection.gettimeout()
        self._deadline = time.monotonic() + (self._patience or 0.0)

    def readable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._raw.fileno()

    def readinto(self, buffer: Any) -> int | None:
        if self._patience is not None:
            left = self._deadline - time.monotonic()
            if left <= 0:
                msg = "the answer comes too slowly"
                raise TimeoutError(msg)
            self._connection.settimeout(min(left, self._patience))
        count = self._raw.readinto(buffer)
        self._deadline += (count or 0) / SLOWEST_BYTES_PER_SECOND
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Answer(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *arguments: Any, **words: Any) -> None:
        super().__init__(sock, *arguments, **words)
        self.fp.close()
        self.fp = io.BufferedReader(_DeadlineReader(sock))


class _PlainConnection(HTTPConnection):
    response_class = _Answer


class _TlsConnection(HTTPSConnection):
    response_class = _Answer


class _PlainPool(urllib3.HTTPConnectionPool):
    ConnectionCls = _PlainConnection


class _TlsPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


_POOLS = {"http": _PlainPool, "https": _TlsPool}


class DeadlineAdapter(HTTPAdapter):
    """Has every answer end, those through a proxy too."""

    def init_poolmanager(self, *arguments: Any, **words: Any) -> None:
        """Make the connections to servers."""
        super().init_poolmanager(*arguments, **words)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, proxy: str, **words: Any) -> Any:
        """Make the connections to a proxy; SOCKS has its own and keeps them."""
        manager = super().proxy_manager_for(proxy, **words)
        if isinstance(manager, urllib3.ProxyManager):
            manager.pool_classes_by_scheme = _POOLS
        return manager
