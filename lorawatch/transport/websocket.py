"""Listen to a WebSocket: the handshake and the frames of RFC 6455, as far as somebody who only listens needs them.

ComfyUI's client uses it, on a thread of its own. It says nothing but pong, keeps no binary message, and reads no text
longer than MOST_TEXT_BYTES. Every wait ends with `close`, called by another thread.
"""

import base64
import hashlib
import os
import socket
import ssl
from collections.abc import Iterator
from typing import Self
from urllib.parse import urlsplit

from lorawatch.transport.calls import CallError, Failure

MOST_TEXT_BYTES = 1 << 20
_MOST_HEADER_BYTES = 16 << 10
_SALT = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, 1.3
_CONTINUATION, _TEXT, _CLOSE, _PING, _PONG = 0x0, 0x1, 0x8, 0x9, 0xA
_FINAL = 0x80
_MASKED = 0x80


class WebSocket:
    """One connection, as a context manager."""

    def __init__(self, url: str, *, timeout_seconds: float) -> None:
        """Connect to http://host/route, and ask for the upgrade. Raises CallError if it is not granted in time."""
        self._called = f"WebSocket {url}"
        try:
            self._socket = _connect(url, timeout_seconds)
        except (OSError, ValueError) as error:
            raise CallError(Failure.NOT_CONNECTED, f"{self._called}: {error}") from error
        self._buffer = bytearray()
        try:
            self._upgrade(url)
            self._socket.settimeout(None)  # silence is no failure: `close` ends it
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the connection, and whatever waits for it. Repeating it does no harm."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # it has ended already
        self._socket.close()

    def texts(self) -> Iterator[str]:
        """Yield each text message until the connection ends. Raises CallError for what is no WebSocket."""
        text = bytearray()
        is_text = False
        while True:
            try:
                first, length, mask = self._frame_header()
                opcode = first & 0x0F
                if opcode in {_CONTINUATION, _TEXT} and (is_text or opcode == _TEXT) and not mask:
                    is_text = True
                    if len(text) + length > MOST_TEXT_BYTES:
                        raise CallError(Failure.UNREADABLE, f"{self._called}: a message is too long")
                    text += self._take(length)
                    if first & _FINAL:
                        yield bytes(text).decode("utf-8", "replace")
                        text.clear()
                        is_text = False
                else:
                    self._answer(opcode, length)
            except (OSError, EOFError):
                return

    def _answer(self, opcode: int, length: int) -> None:
        """Pass over a message that is none for us: pictures, pongs; answer a ping; end at a close."""
        if opcode == _CLOSE:
            raise EOFError
        if opcode == _PING:
            content = self._take(min(length, 125))
            self._socket.sendall(bytes([_FINAL | _PONG, _MASKED | len(content)]) + bytes(4) + content)  # mask of zeros
            return
        while length:
            length -= len(self._take(min(length, 1 << 16)))

    def _frame_header(self) -> tuple[int, int, int]:
        first, second = self._take(2)
        length = second & 0x7F
        if length >= 126:
            length = int.from_bytes(self._take(2 if length == 126 else 8), "big")
        return first, length, second & _MASKED

    def _upgrade(self, url: str) -> None:
        key = base64.b64encode(os.urandom(16))
        parts = urlsplit(url)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        request = (
            f"GET {target} HTTP/1.1\r\nHost: {parts.netloc.rpartition('@')[2]}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key.decode()}\r\n\r\n"
        )
        try:
            self._socket.sendall(request.encode())
            head = self._read_head()
        except (OSError, EOFError) as error:
            raise CallError(Failure.LOST, f"{self._called}: no answer to the handshake") from error
        accepted = base64.b64encode(hashlib.sha1(key + _SALT, usedforsecurity=False).digest())
        if b" 101 " not in head.partition(b"\r\n")[0] + b" " or accepted not in head:
            raise CallError(Failure.UNREADABLE, f"{self._called}: the server does not speak WebSocket")

    def _read_head(self) -> bytes:
        while b"\r\n\r\n" not in self._buffer:
            if len(self._buffer) > _MOST_HEADER_BYTES:
                raise EOFError
            self._fill()
        head, _, rest = bytes(self._buffer).partition(b"\r\n\r\n")
        self._buffer = bytearray(rest)
        return head

    def _take(self, count: int) -> bytes:
        while len(self._buffer) < count:
            self._fill()
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        return taken

    def _fill(self) -> None:
        more = self._socket.recv(1 << 16)
        if not more:
            raise EOFError
        self._buffer += more


def _connect(url: str, timeout_seconds: float) -> socket.socket:
    parts = urlsplit(url)
    is_safe = parts.scheme in {"https", "wss"}
    connection = socket.create_connection(
        (parts.hostname or "", parts.port or (443 if is_safe else 80)), timeout=timeout_seconds
    )
    if not is_safe:
        return connection
    try:
        return ssl.create_default_context().wrap_socket(connection, server_hostname=parts.hostname)
    except BaseException:
        connection.close()
        raise
