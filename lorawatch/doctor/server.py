"""An MCP server for ComfyUI: reachable, which dialect, which version, which tools, also those that it hides.

Nothing is uploaded: the calls list things, or ask for tools in a way that can store nothing.
"""

import os
import time
from collections.abc import Iterator, Mapping

from lorawatch.config import AIToolkitSourceConfig, ComfyUIMcpDestinationConfig
from lorawatch.config_environment import token_for
from lorawatch.destinations.comfyui_mcp.detection import ABSENT, Speech, call_tool, detect, listed, tools_told
from lorawatch.destinations.comfyui_mcp.failures import destination_error
from lorawatch.destinations.comfyui_mcp.listing import Entry, entry_named, remote_file
from lorawatch.destinations.registry import location_of
from lorawatch.doctor import records
from lorawatch.doctor.findings import Finding, error, fine, of_error, together, warning
from lorawatch.domain.codes import cure_of
from lorawatch.domain.errors import ConfigurationError
from lorawatch.finding import servers
from lorawatch.journal import checkup
from lorawatch.transport.answers import payload_of
from lorawatch.transport.calls import CallError, Failure
from lorawatch.transport.http import HttpClient, HttpSettings

CHECK = "mcp-server"
_MOST_CONNECT_SECONDS, _MOST_READ_SECONDS = 4.0, 6.0  # a doctor's patience: a server that lists needs milliseconds
_USUAL_CHUNK_BYTES = 1 << 20
_ELSEWHERE = frozenset({Failure.TOOL_MISSING, Failure.NO_ROUTE, Failure.UNREADABLE, Failure.WRONG_PARAMETERS})


def look(config: ComfyUIMcpDestinationConfig, *, state_directory: str) -> Iterator[Finding]:
    """Look at one server."""
    try:
        http = client_of(config)
    except ConfigurationError as raised:
        yield of_error(CHECK, raised, subject=config.name)
        return
    try:
        speech = detect(http, "auto")
        started = time.monotonic()
        entries = listed(call_tool(http, speech.route, speech.dialect.listing, {}), http.url)
        seconds = time.monotonic() - started
    except CallError as raised:
        yield _not_usable(config, raised)
        return
    yield fine(CHECK, f"{config.url} speaks {_described(speech)}", subject=config.name)
    yield from _api(config, http, speech)
    yield from _tools(config, http, speech)
    yield from _request_size(config, http, speech)
    yield from _listing(config, entries, seconds, state_directory)


def client_of(config: ComfyUIMcpDestinationConfig | AIToolkitSourceConfig) -> HttpClient:
    """Return a client with a doctor's patience. Raises ConfigurationError for a token that cannot be used."""
    return HttpClient(
        HttpSettings(
            url=config.url,
            token=token_for(config, os.environ).get_secret_value(),
            connect_timeout_seconds=min(config.connect_timeout_seconds, _MOST_CONNECT_SECONDS),
            read_timeout_seconds=min(config.read_timeout_seconds, _MOST_READ_SECONDS),
            verify_tls=config.verify_tls,
            attempts=1,
        )
    )


def words_of(config: ComfyUIMcpDestinationConfig | AIToolkitSourceConfig) -> Mapping[str, str]:
    """Return what stands for the placeholders of the codes."""
    return {"URL": config.url, "<NAME>": config.name.replace("-", "_").upper()}


def _not_usable(config: ComfyUIMcpDestinationConfig, raised: CallError) -> Finding:
    """Say why a server cannot be used; and if it is another one than it should be, which."""
    told = destination_error(raised)
    if raised.failure in _ELSEWHERE:
        if servers.is_comfyui(config.url):
            return error(
                CHECK,
                f"{config.url} is ComfyUI itself, not its MCP server",
                fix='write the MCP server as url, mostly port 8189; ComfyUI itself belongs in comfyui_url = "…"',
                subject=config.name,
                code=told.code,
            )
        if servers.role_of(config.url) == "models":
            return error(
                CHECK,
                f"{config.url} is AI Toolkit's MCP server, which takes no LoRAs for ComfyUI",
                fix="write that of ComfyUI as url, mostly port 8189; this one belongs in [[sources]]",
                subject=config.name,
                code=told.code,
            )
    return of_error(CHECK, told, subject=config.name, words=words_of(config))


def _described(speech: Speech) -> str:
    version = f", version {speech.version}" if speech.version else ", of a version that it does not tell"
    chunks = "large files in chunks" if speech.has_chunks else "every file in one request, as it knows no chunks"
    return f'the dialect "{speech.dialect.api}" on {speech.route.path}{version}; {chunks}'


def _api(config: ComfyUIMcpDestinationConfig, http: HttpClient, speech: Speech) -> Iterator[Finding]:
    if config.api in {"auto", speech.dialect.api}:
        return
    try:
        detect(http, config.api)
    except CallError as raised:
        yield error(
            "mcp-api",
            f'api = "{config.api}" is not what this server speaks: {raised.message}',
            fix=f'write api = "{speech.dialect.api}", or api = "auto"',
            subject=config.name,
            code="wrong-parameters",
        )
    else:
        yield fine("mcp-api", f'it also speaks "{config.api}", as api says', subject=config.name)


def _tools(config: ComfyUIMcpDestinationConfig, http: HttpClient, speech: Speech) -> Iterator[Finding]:
    dialect, told = speech.dialect, set(tools_told(http))
    used = [dialect.listing.name, dialect.direct.name]
    if speech.has_chunks and dialect.chunks is not None:
        used += [dialect.chunks.start.name, dialect.chunks.append.name, dialect.chunks.finish.name]
    hidden = [name for name in used if name not in told]
    if not hidden:
        detail = f"it tells of all tools that are needed: {', '.join(used)}"
    elif told:
        detail = f"it has tools that its own list leaves out, and they are used all the same: {', '.join(hidden)}"
    else:
        detail = f"it tells of no tools; these were found by calling them: {', '.join(used)}"
    yield fine("mcp-tools", detail, subject=config.name)


def _request_size(config: ComfyUIMcpDestinationConfig, http: HttpClient, speech: Speech) -> Iterator[Finding]:
    """Send one request of the usual size to a tool that no server has, to see whether anything refuses its size."""
    if speech.route.is_jsonrpc:
        return  # such a server writes all that it is sent into its log
    check, size_bytes = "mcp-request-size", config.chunk_bytes or _USUAL_CHUNK_BYTES
    padding = b'{"tool": "%s", "arguments": {"content": "%s"}}' % (ABSENT.name.encode(), b"A" * (size_bytes * 4 // 3))
    try:
        payload_of(http.post(speech.route.path, padding, is_repeatable=True))
    except CallError as raised:
        if raised.failure is Failure.TOO_LARGE:
            make = warning if speech.has_chunks else error
            own = "chunks are made smaller by themselves, down to 16 KiB; to begin with that: chunk_bytes = 65536"
            yield make(
                check,
                f"a request of {size_bytes:,} bytes is refused: {raised.message}",
                fix=together([own if speech.has_chunks else "", cure_of("too-large", words_of(config))]),
                subject=config.name,
                code="too-large",
            )
            return
        if raised.failure is Failure.TIMED_OUT:
            yield of_error(check, destination_error(raised), subject=config.name, words=words_of(config))
            return
    yield fine(check, f"a request of {size_bytes:,} bytes gets through", subject=config.name)


def _listing(
    config: ComfyUIMcpDestinationConfig, entries: list[Entry], seconds: float, state_directory: str
) -> Iterator[Finding]:
    """Compare the server's list with what was delivered; a server that stores something else is found here."""
    check = "mcp-listing"
    delivered = records.ask(
        state_directory, lambda connection: checkup.delivered(connection, config.name, location_of(config))
    )
    wrong = []
    for name, size_bytes in (delivered or {}).items():
        entry = entry_named(entries, name)
        told = remote_file(entry, name).size_bytes if entry is not None else None
        if told is not None and told != size_bytes:
            wrong.append(f"{name} has {told:,} bytes there, delivered were {size_bytes:,}")
    if wrong:
        yield warning(
            check, "; ".join(wrong[:3]), fix=cure_of("size-mismatch"), subject=config.name, code="size-mismatch"
        )
    elif seconds > config.read_timeout_seconds / 2:
        detail = f"the list took {seconds:.1f} s, and read_timeout_seconds is {config.read_timeout_seconds:g}"
        yield warning(check, detail, fix=cure_of("timeout"), subject=config.name, code="timeout")
    else:
        yield fine(check, f"it lists {len(entries):,} LoRAs, in {seconds * 1000:.0f} ms", subject=config.name)
