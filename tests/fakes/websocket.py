"""The server's side of a WebSocket: the answer to the handshake, and frames."""

import base64
import hashlib

TEXT, BINARY, CLOSE, PING = 0x1, 0x2, 0x8, 0x9


def accepted(key: str) -> bytes:
    """The answer to a handshake with this key."""
    digest = hashlib.sha1(f"{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest()
    accept = base64.b64encode(digest).decode()
    lines = ("HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade")
    return "\r\n".join([*lines, f"Sec-WebSocket-Accept: {accept}", "", ""]).encode()


def frame(opcode: int, content: bytes, *, is_final: bool = True) -> bytes:
    """One frame, unmasked, as servers send them."""
    first = bytes([opcode | (0x80 if is_final else 0)])
    if len(content) < 126:
        return first + bytes([len(content)]) + content
    if len(content) < 1 << 16:
        return first + b"\x7e" + len(content).to_bytes(2, "big") + content
    return first + b"\x7f" + len(content).to_bytes(8, "big") + content
