"""Takes a file's base64 out of a JSON answer while it streams by, so that memory never holds either of them.

Used for downloads, by the comfyui-mcp destination and the aitoolkit-mcp source. What remains is a small JSON document
with an empty content, for the normaliser.
"""

import dataclasses
import re

import pybase64

from lorawatch.transport.calls import CallError, Failure
from lorawatch.transport.http import Answer

# In JSON-RPC the answer is JSON inside a string: there every quote has a backslash before it.
_START = re.compile(rb'(\\?)"(?:data|content|model_data|file_data|base64)\\?"\s*:\s*\\?"(?=[A-Za-z0-9+/\\"])')
_ERROR = re.compile(rb'"error"\s*:\s*\{')  # of JSON-RPC: what it calls data is words
# Line breaks as JSON writes them, once or twice: some servers break base64 into lines.
_LINE_BREAK = re.compile(rb"\\+[nr]")
_MOST_HEAD_BYTES = 1 << 20  # everything before and after the content; metadata may stand there
_MOST_BACKSLASHES = 4
_QUOTE = ord('"')


class EmbeddedContent:
    """A parser that is fed pieces and gives back bytes. Not thread-safe."""

    def __init__(self) -> None:
        self.is_found = False
        self.size_bytes = 0
        self._rest = bytearray()  # the document without the content
        self._pending = b""  # fewer than four characters of base64, or the beginning of an escape
        self._is_inside = False
        self._is_nested = False

    def feed(self, piece: bytes) -> bytes:
        """Return what this piece holds of the content, decoded. Raises CallError for what is no base64."""
        if self._is_inside:
            return self._take(piece)
        self._rest += piece
        if len(self._rest) > _MOST_HEAD_BYTES:
            raise CallError(Failure.UNREADABLE, "the download is a long answer without any content")
        is_over = self.is_found or _ERROR.search(self._rest) is not None
        match = None if is_over else _START.search(self._rest)
        if match is None:
            return b""
        self.is_found = self._is_inside = True
        self._is_nested = bool(match[1])
        content = bytes(self._rest[match.end() :])
        del self._rest[match.end() :]
        return self._take(content)

    def answer(self, answer: Answer) -> Answer:
        """Return the answer as the normaliser wants it, once everything has been fed."""
        if self._is_inside:
            raise CallError(Failure.UNREADABLE, f"{answer.called}: the download ended in the middle of the content")
        return dataclasses.replace(answer, body=bytes(self._rest)) if not answer.body else answer

    def _take(self, piece: bytes) -> bytes:
        end = piece.find(_QUOTE)
        text = piece if end < 0 else piece[:end]
        text, escape = self._unescaped(self._pending + text)
        if end >= 0:
            self._is_inside = False
            self._pending = b""
            self._rest += (b"\\" if self._is_nested else b"") + piece[end:]
        else:
            whole = len(text) - len(text) % 4
            text, self._pending = text[:whole], text[whole:] + escape
        try:
            data = pybase64.b64decode(text, validate=True)
        except ValueError as error:
            raise CallError(Failure.UNREADABLE, "the content of the download is no base64") from error
        self.size_bytes += len(data)
        return data

    @staticmethod
    def _unescaped(text: bytes) -> tuple[bytes, bytes]:
        """Return base64 without what JSON has put into it, and the escape that only the next piece ends.

        A slash may be written with a backslash before it; base64 itself knows none.
        """
        if b"\\" not in text:
            return text, b""
        kept = text.rstrip(b"\\")
        if len(text) - len(kept) > _MOST_BACKSLASHES:
            raise CallError(Failure.UNREADABLE, "the content of the download is no base64")
        return _LINE_BREAK.sub(b"", kept).replace(b"\\", b""), text[len(kept) :]
