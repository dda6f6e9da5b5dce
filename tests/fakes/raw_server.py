"""A server that may answer as badly as it likes: every connection is handed to a function, on a thread of its own.

For what no HTTP library would let a server do: drip, never end, promise one length and send another.
"""

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True)
class Request:
    """What a client has sent."""

    line: str  # "POST /mcp/tool HTTP/1.1"
    headers: dict[str, str]  # names in lower case
    body: bytes


class RawServer:
    """A context manager. `serve` is called once for each connection, which is closed afterwards."""

    def __init__(
        self, serve: Callable[[socket.socket], None], *, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None
    ) -> None:
        self._serve = serve
        self._tls = tls
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, 0), family=family)
        self.port = int(self._listener.getsockname()[1])
        scheme = "http" if tls is None else "https"
        self.url = f"{scheme}://[{host}]:{self.port}" if ":" in host else f"{scheme}://{host}:{self.port}"
        self.is_over = threading.Event()  # what drips for ever is to stop then

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.is_over.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while not self.is_over.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._handle, args=(connection,), daemon=True).start()

    def _handle(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_side=True)
            with connection:
                self._serve(connection)


def read_request(connection: socket.socket) -> Request:
    """Read one request; ConnectionError if the client has gone."""
    held = b""
    while b"\r\n\r\n" not in held:
        held += _received(connection)
    head, _, body = held.partition(b"\r\n\r\n")
    line, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.strip().lower(): value.strip() for name, _, value in (each.partition(":") for each in lines)}
    while len(body) < int(headers.get("content-length", "0")):
        body += _received(connection)
    return Request(line, headers, body)


def answer(body: bytes, *, status: str = "200 OK", headers: str = "", length: int | None = None) -> bytes:
    """An answer as it goes over the line. `headers` are whole lines."""
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\n{headers}"
    return f"{head}Content-Length: {len(body) if length is None else length}\r\n\r\n".encode() + body


def _received(connection: socket.socket) -> bytes:
    received = connection.recv(1 << 16)
    if not received:
        raise ConnectionError("the client has gone")
    return received
