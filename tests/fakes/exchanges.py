"""What was recorded of each dialect: what is sent, what comes back, and what that means.

A new dialect is a row in lorawatch/destinations/comfyui_mcp/dialects.py and an entry here; the fake server next door
speaks it then for everything that takes more than one call. Of the documented server the shape of the answers was
never recorded: both that were seen elsewhere stand for it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lorawatch.transport.calls import Failure

Json = dict[str, Any]
ID = "7c0de0e2-0f0b-4b8e-9d0a-0c9a6a1f5b11"


@dataclass(frozen=True)
class Exchange:
    """One call. `part` is the attribute of the dialect; `words` what we tell; `means` what the answer says of it."""

    part: str  # "listing", "direct", "chunks.start", …
    words: Json
    route: str
    request: Json
    answer: object
    means: Json | Failure
    status: int = 200


def _execute(part: str, words: Json, tool: str, arguments: Json, answer: object, means: Json | Failure) -> Exchange:
    return Exchange(part, words, "/mcp/execute", {"tool": tool, "arguments": arguments}, answer, means)


def _rpc(part: str, words: Json, tool: str, arguments: Json, answer: object, means: Json | Failure) -> Exchange:
    call = {"name": tool, "arguments": arguments}
    request = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call}
    return Exchange(part, words, "/mcp", request, answer, means)


def _good(result: Json) -> Json:
    return {"success": True, "result": result, "error": None}


def _text(result: Json) -> Json:
    text = json.dumps(result, indent=1)
    return {"jsonrpc": "2.0", "result": {"content": [{"type": "text", "text": text}]}, "id": 3}


def _documented(
    part: str, words: Json, tool: str, arguments: Json, answer: object, means: Json | Failure, status: int = 200
) -> Exchange:
    return Exchange(part, words, "/mcp/tool", {"tool": tool, "arguments": arguments}, answer, means, status)


_LISTED = {"loras": [{"name": "t3", "filename": "t3.safetensors", "size": 11}]}
_UPLOADED = {"status": "success", "filename": "t1.safetensors", "path": "/loras/t1.safetensors", "size": 11}
_START = {
    "upload_id": ID,
    "filename": "t1.safetensors",
    "size_bytes": 11,
    "chunk_bytes": 262144,
    "metadata": {"a": "b"},
}
_CHUNK = {"upload_id": ID, "content": "aGVsbG8gd29ybGQ=", "index": 0, "count": 1}
_SEND = {"filename": "t1.safetensors", "content": "aGVsbG8gd29ybGQ=", "overwrite": True, "metadata": {"a": "b"}}
_ARGUMENTS_OF_C = {"filename": "t1.safetensors", "data": "aGVsbG8gd29ybGQ=", "metadata": {"a": "b"}}
_MISSING = Failure.TOOL_MISSING
_NOT_FOUND = {"success": False, "result": None, "error": "404: Tool 'nosuch' not found"}

EXCHANGES: Mapping[str, tuple[Exchange, ...]] = {
    "documented": (
        _documented("listing", {}, "list-loras", {}, _LISTED, _LISTED),
        _documented("listing", {}, "list-loras", {}, _good(_LISTED), _LISTED),
        _documented("listing", {}, "list-loras", {}, {"detail": "Tool 'list-loras' not found"}, _MISSING, 404),
        _documented(
            "direct",
            _SEND,
            "upload-lora",
            {"filename": "t1.safetensors", "content": "aGVsbG8gd29ybGQ=", "overwrite": True},
            {"detail": "Request Entity Too Large"},
            Failure.TOO_LARGE,
            413,
        ),
        _documented(
            "chunks.start",
            _START,
            "upload-lora-chunked-start",
            {"upload_id": ID, "filename": "t1.safetensors", "total_size": 11, "chunk_size": 262144,
             "metadata": {"a": "b"}},
            {"success": True, "upload_id": ID},
            {"success": True, "upload_id": ID},
        ),
        _documented(
            "chunks.append",
            _CHUNK,
            "upload-lora-chunked-append",
            {"upload_id": ID, "chunk": "aGVsbG8gd29ybGQ=", "chunk_index": 0},
            {"success": False, "error": "Upload ID not found"},
            Failure.UPLOAD_LOST,
        ),
        _documented(
            "chunks.finish",
            {"upload_id": ID, "verify": True},
            "upload-lora-chunked-finish",
            {"upload_id": ID, "verify_checksum": True},
            _good({"error": "Size mismatch: expected 11, got 7"}),
            Failure.INCOMPLETE,
        ),
        _documented(
            "details",
            {"filename": "t1.safetensors"},
            "get-lora-info",
            {"lora_name": "t1.safetensors"},
            _good({"name": "t1", "size": 11}),
            {"name": "t1", "size": 11},
        ),
    ),
    "chunked": (
        _execute("listing", {}, "list_loras", {}, _good({"loras": []}), {"loras": []}),
        _execute(
            "chunks.start",
            _START,
            "upload_lora_chunked_init",
            {"filename": "t1.safetensors", "total_size": 11, "metadata": {"a": "b"}},
            _good({"upload_id": ID, "status": "initialized"}),
            {"upload_id": ID, "status": "initialized"},
        ),
        _execute(
            "chunks.append",
            _CHUNK,
            "upload_lora_chunk",
            {"upload_id": ID, "chunk_index": 0, "chunk": "aGVsbG8gd29ybGQ=", "total_chunks": 1},
            _good({"status": "chunk_received", "chunk_index": 0}),
            {"status": "chunk_received", "chunk_index": 0},
        ),
        _execute(
            "chunks.finish",
            {"upload_id": ID, "verify": True},
            "upload_lora_chunked_complete",
            {"upload_id": ID},
            _good({"status": "completed", "upload_id": ID}),
            {"status": "completed", "upload_id": ID},
        ),
    ),
    "direct": (
        _execute("listing", {}, "list_loras", {}, _good(_LISTED), _LISTED),
        _execute("direct", _SEND, "upload_lora", _ARGUMENTS_OF_C, _good(_UPLOADED), _UPLOADED),
        _execute(
            "direct",
            _SEND,
            "upload_lora",
            _ARGUMENTS_OF_C,
            _good({"error": "Missing required fields: filename and data"}),
            Failure.WRONG_PARAMETERS,
        ),
        _execute("direct", _SEND, "upload_lora", _ARGUMENTS_OF_C, _NOT_FOUND, _MISSING),
        _execute("direct", _SEND, "upload_lora", _ARGUMENTS_OF_C, _good(_NOT_FOUND), _MISSING),
        _execute(
            "download",
            {"filename": "t1.safetensors", "encoding": "base64"},
            "download_lora",
            {"filename": "t1.safetensors", "encoding": "base64"},
            _good({"error": "LoRA not found"}),
            Failure.NOT_FOUND,
        ),
    ),
    "jsonrpc": (
        _rpc("listing", {}, "list_loras", {}, _text(_LISTED), _LISTED),
        _rpc("direct", _SEND, "upload_lora", _ARGUMENTS_OF_C, _text(_UPLOADED), _UPLOADED),
        _rpc(
            "download",
            {"filename": "t1.safetensors", "encoding": "base64"},
            "download_lora",
            {"filename": "t1.safetensors", "encoding": "base64"},
            _text({"error": "LoRA not found"}),
            Failure.NOT_FOUND,
        ),
        _rpc(
            "listing",
            {},
            "list_loras",
            {},
            {"error": {"code": -32603, "message": "Internal error", "data": "Tool 'nosuch' not found"}},
            _MISSING,
        ),
    ),
}  # fmt: skip
