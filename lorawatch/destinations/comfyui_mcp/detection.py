"""Find out which dialect a server speaks, by asking and by harmless calls; it never uploads anything.

Called by server.py, the first time and whenever a call says that a tool is not there. The pages that tell about
tools may be missing or leave tools out, so only a call decides.
"""

import json
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lorawatch.destinations.comfyui_mcp.dialects import (
    BY_API,
    DIALECTS,
    TOOL_PAGES,
    VERSION_PAGE,
    Dialect,
    Route,
    Tool,
)
from lorawatch.destinations.comfyui_mcp.encoding import PiecewiseBody, frame
from lorawatch.transport.answers import Payload, payload_of
from lorawatch.transport.calls import CallError, Failure
from lorawatch.transport.http import HttpClient

# A name that no server has: what it answers to it is what it answers to any tool that it lacks.
ABSENT = Tool("lorawatch-asks-for-a-tool-that-is-absent")
# These say something about the server, not about a tool: asking on would only hammer it.
_FINAL = frozenset(
    {Failure.NOT_CONNECTED, Failure.TIMED_OUT, Failure.LOST, Failure.NOT_AUTHORIZED, Failure.REDIRECTED, Failure.BUSY}
)


@dataclass(frozen=True, slots=True)
class Speech:
    """How to speak with a server."""

    dialect: Dialect
    route: Route
    has_chunks: bool
    version: str = ""

    def to_text(self) -> str:
        """Return it as it is remembered."""
        values = [self.dialect.api, self.dialect.routes.index(self.route), self.has_chunks, self.version]
        return json.dumps(values)

    @classmethod
    def from_text(cls, text: str) -> "Speech | None":
        """Read what was remembered; None if this program does not know it any more."""
        try:
            api, position, has_chunks, version = json.loads(text)
            dialect = BY_API[api]
            return cls(dialect, dialect.routes[position], bool(has_chunks), str(version))
        except (ValueError, TypeError, KeyError, IndexError):
            return None


def detect(http: HttpClient, api: str) -> Speech:
    """Return the dialect of a server; `api` names one, or is "auto". Raises CallError."""
    version, told = version_of(http), frozenset(tools_told(http))
    weaker: list[Speech] = []
    for dialect in DIALECTS if api == "auto" else (BY_API[api],):
        route = _route_of(http, dialect)
        if route is None:
            continue
        if dialect.chunks is not None and has_tool(http, route, dialect.chunks.append, told):
            return Speech(dialect, route, has_chunks=True, version=version)
        if has_tool(http, route, dialect.direct, told):
            weaker.append(Speech(dialect, route, has_chunks=False, version=version))
    if not weaker:
        msg = f"{http.url} knows no tool with which a LoRA could be uploaded" + (
            "" if api == "auto" else f' in the way that api = "{api}" means'
        )
        raise CallError(Failure.TOOL_MISSING, msg)
    # A dialect that never had chunks describes a server without them better than one that lacks them.
    return next((speech for speech in weaker if speech.dialect.chunks is None), weaker[0])


def version_of(http: HttpClient) -> str:
    """Return what the server says about its version; empty if it says nothing."""
    page = _page(http, VERSION_PAGE)
    for key in ("version", "server_version", "api_version"):
        if isinstance(page.get(key), str | int | float):
            return str(page[key])
    return ""


def call_tool(http: HttpClient, route: Route, tool: Tool, words: Mapping[str, object]) -> Payload:
    """Call a tool with what it has names for; safe to repeat. Raises CallError."""
    arguments = {tool.parameters[word]: value for word, value in words.items() if word in tool.parameters}
    body = PiecewiseBody(frame(route, tool.name, arguments, content_key=None), b"")
    return payload_of(http.post(route.path, body, is_repeatable=True))


def _route_of(http: HttpClient, dialect: Dialect) -> Route | None:
    """Return the first route on which the dialect's listing works."""
    for route in dialect.routes:
        try:
            call_tool(http, route, dialect.listing, {})
        except CallError as error:
            if error.failure in _FINAL:
                raise
        else:
            return route
    return None


def has_tool(http: HttpClient, route: Route, tool: Tool, told: frozenset[str]) -> bool:
    """Return whether the server has a tool, also one that it does not tell about."""
    if tool.name in told:
        return True
    words: dict[str, object] = {}
    if "upload_id" in tool.parameters:  # an upload that cannot exist: nothing can be stored
        words = {"upload_id": str(uuid.uuid4()), "content": "", "index": 0, "count": 1}
    answer = _reaction(http, route, tool, words)
    is_missing = answer[0] in {Failure.TOOL_MISSING, Failure.NO_ROUTE}
    return not is_missing and answer != _reaction(http, route, ABSENT, words)


def _reaction(http: HttpClient, route: Route, tool: Tool, words: Mapping[str, object]) -> tuple[Failure | None, str]:
    try:
        call_tool(http, route, tool, words)
    except CallError as error:
        if error.failure in _FINAL:
            raise
        return error.failure, error.message.replace(tool.name, "")
    return None, ""


def tools_told(http: HttpClient) -> Iterator[str]:
    """Yield the names on the pages that list tools; whatever form these have."""
    for path in TOOL_PAGES:
        yield from _names_in(_page(http, path))


def _names_in(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for each in value:
            yield from _names_in(each.get("name") if isinstance(each, dict) else each)
    elif isinstance(value, dict):
        for key in ("tools", "capabilities", "items", "result"):
            inner = value.get(key)
            yield from (inner if isinstance(inner, dict) else {})
            yield from _names_in(inner)


def _page(http: HttpClient, path: str) -> dict[str, Any]:
    try:
        return payload_of(http.get(path))
    except CallError as error:
        if error.failure in _FINAL:
            raise
        return {}
