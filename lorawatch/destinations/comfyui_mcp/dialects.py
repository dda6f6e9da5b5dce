"""What the servers in the field speak, as data: routes, tools, parameters. A new dialect is a new row.

Read by detection.py and server.py. Each line was observed on a server in the field, and each row has a recorded
exchange in tests/fakes/exchanges.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Route:
    """Where calls are sent, and how a call is wrapped: {tool_key: "…", arguments_key: {…}}, or JSON-RPC."""

    path: str
    tool_key: str = "tool"
    arguments_key: str = "arguments"
    is_jsonrpc: bool = False


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool, and what it calls the things we tell it. What it has no name for is not sent to it."""

    name: str
    parameters: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ChunkTools:
    """An upload in pieces. Some servers choose the upload's id themselves and tell it in the answer to `start`."""

    start: Tool
    append: Tool
    finish: Tool


@dataclass(frozen=True, slots=True)
class Dialect:
    """One way of speaking. `api` is its name in the configuration."""

    api: str
    routes: tuple[Route, ...]
    listing: Tool
    direct: Tool
    chunks: ChunkTools | None = None
    details: Tool | None = None  # what is known about one file, perhaps its hash
    download: Tool | None = None
    overwrites_in_place: bool = False  # it writes new bytes into the file that ComfyUI may have mapped


_CURRENT_ROUTES = tuple(
    Route(path, arguments_key=arguments_key)
    for path in ("/mcp/execute", "/tools/execute", "/mcp/tool")
    for arguments_key in ("arguments", "parameters")
)
_CURRENT_DOWNLOAD = Tool("download_lora", {"filename": "filename", "encoding": "encoding"})
_CURRENT_DIRECT = Tool("upload_lora", {"filename": "filename", "content": "data", "metadata": "metadata"})

DOCUMENTED = Dialect(
    api="documented",
    routes=(Route("/mcp/tool"), Route("/mcp/tool", arguments_key="parameters")),
    listing=Tool("list-loras"),
    direct=Tool("upload-lora", {"filename": "filename", "content": "content", "overwrite": "overwrite"}),
    chunks=ChunkTools(
        start=Tool(
            "upload-lora-chunked-start",
            {
                "upload_id": "upload_id",
                "filename": "filename",
                "size_bytes": "total_size",
                "chunk_bytes": "chunk_size",
                "metadata": "metadata",
            },
        ),
        append=Tool(
            "upload-lora-chunked-append", {"upload_id": "upload_id", "content": "chunk", "index": "chunk_index"}
        ),
        finish=Tool("upload-lora-chunked-finish", {"upload_id": "upload_id", "verify": "verify_checksum"}),
    ),
    details=Tool("get-lora-info", {"filename": "lora_name"}),
)
CHUNKED = Dialect(
    api="chunked",
    routes=_CURRENT_ROUTES,
    listing=Tool("list_loras"),
    direct=_CURRENT_DIRECT,
    chunks=ChunkTools(
        start=Tool(
            "upload_lora_chunked_init",
            {"filename": "filename", "size_bytes": "total_size", "metadata": "metadata"},
        ),
        append=Tool(
            "upload_lora_chunk",
            {"upload_id": "upload_id", "content": "chunk", "index": "chunk_index", "count": "total_chunks"},
        ),
        finish=Tool("upload_lora_chunked_complete", {"upload_id": "upload_id"}),
    ),
    download=_CURRENT_DOWNLOAD,
)
DIRECT = Dialect(
    api="direct",
    routes=_CURRENT_ROUTES,
    listing=Tool("list_loras"),
    direct=_CURRENT_DIRECT,
    download=_CURRENT_DOWNLOAD,
    overwrites_in_place=True,
)
JSONRPC = Dialect(
    api="jsonrpc",
    routes=tuple(Route(path, is_jsonrpc=True) for path in ("/mcp", "/messages", "/mcp/rpc")),
    listing=Tool("list_loras"),
    direct=_CURRENT_DIRECT,
    download=_CURRENT_DOWNLOAD,
)

# In the order of preference: what can be resumed first, and last what writes every byte into its log.
DIALECTS: tuple[Dialect, ...] = (DOCUMENTED, CHUNKED, DIRECT, JSONRPC)
BY_API: Mapping[str, Dialect] = {dialect.api: dialect for dialect in DIALECTS}

# Pages that may tell version and tools. They may be missing, and leave tools out that exist.
VERSION_PAGE = "/mcp/version"
TOOL_PAGES = ("/mcp/tools", "/mcp/tools/list", "/mcp/capabilities")
