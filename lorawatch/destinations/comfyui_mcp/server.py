"""One server and the dialect that it speaks: tools are called by what they are for, not by their names.

Used by uploads and by the destination, on several threads at once. The dialect is found out when it is first needed,
remembered across restarts, and found out anew when a call says that a tool or a route is not there.
"""

import hashlib
import threading
from collections.abc import Callable, Mapping

from lorawatch.destinations.comfyui_mcp.detection import Speech, call_tool, detect, listed, version_of
from lorawatch.destinations.comfyui_mcp.dialects import Tool
from lorawatch.destinations.comfyui_mcp.encoding import PiecewiseBody, frame
from lorawatch.destinations.comfyui_mcp.listing import Entry, entries_of, entry_named
from lorawatch.domain.ports import Memory, Stop
from lorawatch.transport.answers import Payload, payload_of
from lorawatch.transport.calls import CallError, Failure
from lorawatch.transport.embedded import EmbeddedContent
from lorawatch.transport.http import Body, HttpClient

_SPEECH = "speech"


class Server:
    """A server. Every method raises CallError, and StoppedError where it is given a `stop`."""

    def __init__(self, http: HttpClient, *, api: str, memory: Memory) -> None:
        self._http = http
        self._api = api
        self._memory = memory
        self._lock = threading.Lock()  # one thread finds the dialect out, the others wait for it
        self._speech: Speech | None = None

    @property
    def identity(self) -> str:
        """What an interrupted upload belongs to: another version or dialect of the server does not know it."""
        speech = self.speech()
        return f"{self._http.url} {speech.dialect.api} {speech.version}"

    def speech(self) -> Speech:
        """Return how to speak with it."""
        with self._lock:
            if self._speech is None:
                self._speech = self._remembered() or self._found()
            return self._speech

    def listing(self) -> list[Entry]:
        """Return the server's list of LoRAs. What cannot be read as one is an error, never an empty list."""
        return listed(self.call(self.speech().dialect.listing, {}, is_repeatable=True), self._http.url)

    def call(
        self, tool: Tool, words: Mapping[str, object], *, is_repeatable: bool, stop: Stop | None = None
    ) -> Payload:
        """Call a tool with small arguments."""
        return self.send(tool, words, lambda before_and_after: PiecewiseBody(before_and_after, b""),
                         is_repeatable=is_repeatable, stop=stop)  # fmt: skip

    def send(
        self,
        tool: Tool,
        words: Mapping[str, object],
        body_of: Callable[[tuple[bytes, bytes]], Body],
        *,
        is_repeatable: bool,
        stop: Stop | None = None,
        on_doubt: Callable[[], None] | None = None,
    ) -> Payload:
        """Call a tool whose `content` is sent by `body_of`, which is given what stands before and after it.

        `on_doubt` is told before the call is repeated although it may have been carried out.
        """
        speech = self.speech()
        arguments = {tool.parameters[word]: value for word, value in words.items() if word in tool.parameters}
        around = frame(speech.route, tool.name, arguments, content_key=tool.parameters.get("content"))
        try:
            answer = self._http.post(
                speech.route.path, body_of(around), is_repeatable=is_repeatable, stop=stop, on_doubt=on_doubt
            )
            return payload_of(answer)
        except CallError as error:
            if error.failure in {Failure.NO_ROUTE, Failure.TOOL_MISSING} and self._speaks_otherwise_than(speech):
                msg = f"{error.message}; the server speaks another dialect now, so it is done again"
                raise CallError(Failure.REPORTED, msg) from error
            raise

    def details(self, remote_name: str) -> Payload | None:
        """Return what the server knows about one file beyond its listing; None if it does not tell."""
        tool = self.speech().dialect.details
        if tool is None:
            return None
        try:
            found = call_tool(self._http, self.speech().route, tool, {"filename": remote_name})
        except CallError as error:
            if error.failure in {Failure.NOT_FOUND, Failure.TOOL_MISSING, Failure.WRONG_PARAMETERS, Failure.REPORTED}:
                return None
            raise
        entry = entry_named(entries_of(found) or (), remote_name)
        inner = next((found[key] for key in ("lora", "info", "model") if isinstance(found.get(key), dict)), found)
        return dict(entry or inner)

    def sha256_of_download(self, remote_name: str, *, most_bytes: int) -> str | None:
        """Return the sha256 of the bytes that the server gives back; None if it gives none.

        Raises CallError (INCOMPLETE) once they are more than `most_bytes`.
        """
        speech = self.speech()
        tool = speech.dialect.download
        if tool is None:
            return None
        digest, content = hashlib.sha256(), EmbeddedContent()
        words: dict[str, object] = {"filename": remote_name, "encoding": "base64"}
        arguments = {tool.parameters[word]: value for word, value in words.items()}
        body = PiecewiseBody(frame(speech.route, tool.name, arguments, content_key=None), b"")

        def take(piece: bytes) -> None:
            digest.update(content.feed(piece))
            if content.size_bytes > most_bytes:
                msg = f"{self._http.url} gives more bytes of {remote_name!r} back than it lists"
                raise CallError(Failure.INCOMPLETE, msg)

        answer = self._http.download(speech.route.path, body, take)
        try:
            payload_of(content.answer(answer))
        except CallError as error:
            if error.failure in {Failure.NOT_FOUND, Failure.TOOL_MISSING, Failure.WRONG_PARAMETERS, Failure.REPORTED}:
                return None
            raise
        return digest.hexdigest() if content.is_found else None

    def forget(self) -> None:
        """Find the dialect out anew at the next call."""
        with self._lock:
            self._speech = None
            self._memory.remember(_SPEECH, None)

    def _speaks_otherwise_than(self, before: Speech) -> bool:
        self.forget()
        return self.speech() != before

    def _remembered(self) -> Speech | None:
        text = self._memory.recall(_SPEECH)
        speech = Speech.from_text(text) if text is not None else None
        if speech is None or self._api not in {"auto", speech.dialect.api}:
            return None
        return speech if version_of(self._http) == speech.version else None

    def _found(self) -> Speech:
        speech = detect(self._http, self._api)
        self._memory.remember(_SPEECH, speech.to_text())
        return speech
