"""Find out which dialect a server speaks, by asking and by harmless calls; it never uploads anything.

Called by server.py, the first time and whenever a call says that a tool is not there. The pages that tell about
tools may be missing or leave tools out, so only a call decides.
"""

import json
import re
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

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
from lorawatch.destinations.comfyui_mcp.listing import Entry, entries_of
from lorawatch.transport.answers import Payload, payload_of
from lorawatch.transport.calls import CallError, Failure
from lorawatch.transport.http import HttpClient

# A name that no server has: what it answers to it is what it answers to any tool that it lacks.
ABSENT = Tool("lorawatch-asks-for-a-tool-that-is-absent")
_MOST_DEPTH = 12  # of a page about tools
_NUMBER = re.compile(r"[0-9a-f-]*[0-9][0-9a-f-]*", re.IGNORECASE)  # of a request, or a time: each answer has another
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
    pages = _pages(http)
    version, told = _version_on(pages.get(VERSION_PAGE, {})), frozenset(_names_told(pages))
    listings, weaker = _Listings(http), list[Speech]()
    for dialect in DIALECTS if api == "auto" else (BY_API[api],):
        route = listings.route_of(dialect)
        if route is None:
            continue
        if dialect.chunks is not None and has_tool(http, route, dialect.chunks.append, told):
            return Speech(dialect, route, has_chunks=True, version=version)
        if has_tool(http, route, dialect.direct, told):
            weaker.append(Speech(dialect, route, has_chunks=False, version=version))
    if not weaker and listings.trouble is not None:
        raise listings.trouble
    if not weaker:
        msg = f"{http.url} knows no tool with which a LoRA could be uploaded" + (
            "" if api == "auto" else f' in the way that api = "{api}" means'
        )
        raise CallError(Failure.TOOL_MISSING, msg)
    # A dialect that never had chunks describes a server without them better than one that lacks them.
    return next((speech for speech in weaker if speech.dialect.chunks is None), weaker[0])


def version_of(http: HttpClient) -> str:
    """Return what the server says about its version; empty if it says nothing."""
    try:
        return _version_on(payload_of(http.get(VERSION_PAGE)))
    except CallError as error:
        if error.failure in _FINAL:
            raise
        return ""


def _version_on(page: Payload) -> str:
    for key in ("version", "server_version", "api_version"):
        if isinstance(page.get(key), str | int | float):
            return str(page[key])
    return ""


def call_tool(
    http: HttpClient, route: Route, tool: Tool, words: Mapping[str, object], *, is_repeatable: bool = True
) -> Payload:
    """Call a tool with what it has names for. Raises CallError."""
    arguments = {tool.parameters[word]: value for word, value in words.items() if word in tool.parameters}
    body = PiecewiseBody(frame(route, tool.name, arguments, content_key=None), b"")
    return payload_of(http.post(route.path, body, is_repeatable=is_repeatable))


def listed(payload: Payload, url: str) -> list[Entry]:
    """Return the entries of a listing. Raises CallError where it is none."""
    entries = entries_of(payload)
    if entries is None:
        msg = f"{url}: an answer in which no list of LoRAs is found"
        raise CallError(Failure.UNREADABLE, msg, fix="check that url leads to ComfyUI's MCP server")
    return entries


class _Listings:
    """Which listings work, each asked for once: dialects share routes, and an address that is none answers nobody."""

    def __init__(self, http: HttpClient) -> None:
        self._http = http
        self._works: dict[tuple[Route, str], bool] = {}
        self._no_addresses: set[str] = set()
        self.trouble: CallError | None = None  # the first that says more than that something is not there

    def route_of(self, dialect: Dialect) -> Route | None:
        """Return the first route on which the dialect's listing works."""
        return next((route for route in dialect.routes if self._is_answered(route, dialect.listing)), None)

    def _is_answered(self, route: Route, tool: Tool) -> bool:
        if route.path in self._no_addresses:
            return False
        known = self._works.get((route, tool.name))
        if known is None:
            known = self._works[route, tool.name] = self._ask(route, tool)
        return known

    def _ask(self, route: Route, tool: Tool) -> bool:
        try:
            listed(call_tool(self._http, route, tool, {}, is_repeatable=False), self._http.url)
        except CallError as error:
            if error.failure in _FINAL:
                raise
            if error.failure is Failure.NO_ROUTE:
                self._no_addresses.add(route.path)
            elif error.failure in {Failure.BROKEN, Failure.UNREADABLE} and self.trouble is None:
                self.trouble = error
            return False
        return True


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
        return error.failure, _NUMBER.sub("#", error.message.replace(tool.name, ""))
    return None, ""


def _pages(http: HttpClient) -> dict[str, Payload]:
    """Return what the pages about the server say; raise CallError if it fails at every one."""
    found: dict[str, Payload] = {}
    broken: CallError | None = None
    for path in (VERSION_PAGE, *TOOL_PAGES):
        try:
            found[path] = payload_of(http.get(path, is_repeatable=False))
        except CallError as error:
            if error.failure in _FINAL:
                raise
            if error.failure is Failure.BROKEN:
                broken = error
            else:
                found[path] = {}
    if broken is not None and not found:
        raise broken  # asking for more would not help it
    return found


def tools_told(http: HttpClient) -> Iterator[str]:
    """Return the names of the tools that the server tells about. Raises CallError."""
    return _names_told(_pages(http))


def _names_told(pages: Mapping[str, Payload]) -> Iterator[str]:
    """Yield the names on the pages that list tools; whatever form these have."""
    for path in TOOL_PAGES:
        yield from _names_in(pages.get(path))


def _names_in(value: object, depth: int = 0) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif depth > _MOST_DEPTH:
        return
    elif isinstance(value, list):
        for each in value:
            yield from _names_in(each.get("name") if isinstance(each, dict) else each, depth + 1)
    elif isinstance(value, dict):
        for key in ("tools", "capabilities", "items", "result"):
            inner = value.get(key)
            yield from (inner if isinstance(inner, dict) else {})
            yield from _names_in(inner, depth + 1)
