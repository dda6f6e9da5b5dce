"""A real HTTP server that speaks like the MCP servers in the field, each dialect with its recorded answers.

It stores what it is sent below a directory, and fails on demand: `Fault`s say at which call and how. It counts and
remembers every call, so that a test can tell what was sent twice.
"""

import base64
import contextlib
import hashlib
import json
import os
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

from tests.fakes.port import Port

Json = dict[str, Any]


@dataclass
class Fault:
    """At call number `after` + 1 of a tool (its name ends so), and `times` calls from there on: what goes wrong."""

    tool: str
    kind: str  # reset-before | reset-after | status | slow | answer | raw | lie | double | truncate | forget | crash
    after: int = 0
    times: int = 1
    status: int = 500
    headers: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    answer: object = None
    body: bytes = b""
    action: Callable[[], object] | None = None  # done first, whatever the kind
    seen: int = 0

    def strikes(self, tool: str) -> bool:
        if not tool.endswith(self.tool):
            return False
        self.seen += 1
        return self.after < self.seen <= self.after + self.times


@dataclass
class Call:
    """One call that arrived."""

    tool: str
    arguments: Json  # without content
    content_bytes: int
    connection: int
    authorization: str | None


class ToolError(Exception):
    """What a tool complains about."""


@dataclass
class _Upload:
    filename: str
    total_size: int
    chunk_size: int | None
    path: Path
    indexes: list[int] = field(default_factory=list)


class McpServer:
    """A server for one directory. A context manager; `restart` keeps its port."""

    def __init__(
        self,
        directory: str | os.PathLike[str],
        dialect: str = "documented",
        *,
        placement: str = "index",  # index | append | strict: refuses an index that is not the next one
        is_hiding_tools: bool = True,
        version: str | None = None,
        listing: tuple[str, ...] = ("size",),
        token: str | None = None,
        most_body_bytes: int | None = None,
        is_flat: bool = False,  # payloads at top level, as the documented server may do
        gives_bytes: bool = True,
        has_chunks: bool = True,
        checks_size: bool = True,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.directory = Path(directory)
        self.dialect = dialect
        self.placement = placement
        self.is_hiding_tools = is_hiding_tools
        self.version = version
        self.listing = listing
        self.token = token
        self.most_body_bytes = most_body_bytes
        self.is_flat = is_flat
        self.gives_bytes = gives_bytes
        self.has_chunks = has_chunks
        self.checks_size = checks_size
        self.tls = tls
        self.faults: list[Fault] = []
        self.calls: list[Call] = []
        self.pages: list[str] = []
        self.connections = 0
        self.uploads: dict[str, _Upload] = {}
        self.lock = threading.Lock()
        self._parts = self.directory.parent / f"{self.directory.name}-parts"
        self._http: _HttpServer | None = None
        self._port = Port()

    def __enter__(self) -> Self:
        self.directory.mkdir(parents=True, exist_ok=True)
        self._parts.mkdir(exist_ok=True)
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._port.close()

    @property
    def url(self) -> str:
        return f"{'http' if self.tls is None else 'https'}://127.0.0.1:{self._port.number}"

    def start(self) -> None:
        self._http = _HttpServer(self._port.address, self)
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def stop(self) -> None:
        if self._http is not None:
            self._http.shutdown()
            self._http.close_all()
            self._http.server_close()
            self._http = None

    def move(self) -> None:
        """Go on at another port."""
        self.stop()
        self._port.close()
        self._port = Port()
        self.start()

    def restart(self, *, forgets: bool = True) -> None:
        self.stop()
        if forgets:
            self.uploads.clear()
        self.start()

    def count(self, tool: str) -> int:
        return sum(call.tool.endswith(tool) for call in self.calls)

    def indexes(self) -> list[int]:
        return [call.arguments["chunk_index"] for call in self.calls if "chunk_index" in call.arguments
                and call.content_bytes]  # fmt: skip

    # What the tools do.

    def tools(self) -> dict[str, Callable[[Json], Json]]:
        if self.dialect == "documented":
            chunked = {
                "upload-lora-chunked-start": self._start,
                "upload-lora-chunked-append": self._append,
                "upload-lora-chunked-finish": self._finish,
            }
            named = {"upload-lora": self._upload, "list-loras": self._list, "get-lora-info": self._info}
        else:
            chunked = {
                "upload_lora_chunked_init": self._start,
                "upload_lora_chunk": self._append,
                "upload_lora_chunked_complete": self._finish,
            }
            named = {"upload_lora": self._upload, "list_loras": self._list, "download_lora": self._download}
        has_chunks = self.has_chunks and self.dialect in {"documented", "chunked"}
        return {**named, **(chunked if has_chunks else {})}

    def entry(self, name: str) -> Json:
        status = (self.directory / name).stat()
        values: Json = {"size": status.st_size, "modified": status.st_mtime_ns}
        if "sha256" in self.listing:
            values["sha256"] = hashlib.sha256((self.directory / name).read_bytes()).hexdigest()
        told = {key: values[key] for key in self.listing if key in values}
        return {"name": os.path.splitext(name)[0], "filename": name, **told}

    def _list(self, _: Json) -> Json:
        names = sorted(os.listdir(self.directory))
        return {"loras": [self.entry(name) for name in names] if self.listing != ("names",) else names}

    def _info(self, arguments: Json) -> Json:
        name = arguments["lora_name"]
        if not (self.directory / name).is_file():
            raise ToolError("LoRA not found")
        return self.entry(name)

    def _upload(self, arguments: Json) -> Json:
        key = "content" if self.dialect == "documented" else "data"
        if "filename" not in arguments or key not in arguments:
            raise ToolError(f"Missing required fields: filename and {key}")
        data = base64.b64decode(arguments[key])
        path = self.directory / arguments["filename"]
        if self.dialect == "documented" and path.exists() and not arguments.get("overwrite"):
            raise ToolError("File already exists")
        path.write_bytes(data)  # in place, as the real one does
        return {"status": "success", "filename": path.name, "path": str(path), "size": len(data)}

    def _download(self, arguments: Json) -> Json:
        path = self.directory / arguments.get("filename", "")
        if not self.gives_bytes or not path.is_file():
            raise ToolError("LoRA not found")
        data = base64.b64encode(path.read_bytes()).decode()
        return {"status": "success", "filename": path.name, "data": data, "size": path.stat().st_size}

    def _start(self, arguments: Json) -> Json:
        upload_id = arguments.get("upload_id") or os.urandom(8).hex()
        path = self._parts / upload_id
        path.write_bytes(b"")
        with self.lock:
            self.uploads[upload_id] = _Upload(
                arguments["filename"], arguments["total_size"], arguments.get("chunk_size"), path
            )
        return {"upload_id": upload_id, "status": "initialized"}

    def _append(self, arguments: Json) -> Json:
        upload = self.uploads.get(arguments["upload_id"])
        if upload is None:
            raise ToolError("Upload ID not found")
        data, index = base64.b64decode(arguments["chunk"]), arguments["chunk_index"]
        with self.lock:
            if self.placement == "strict" and index != len(upload.indexes):
                duplicate = index < len(upload.indexes)
                raise ToolError(f"chunk {index} already received" if duplicate else f"unexpected chunk {index}")
            with upload.path.open("r+b") as file:
                size = upload.chunk_size or -(-upload.total_size // max(1, arguments.get("total_chunks", 1)))
                file.seek(0, os.SEEK_END)
                if self.placement == "index" and index:
                    file.seek(index * self._stride(upload, size, data, arguments))
                elif self.placement == "index":
                    file.seek(0)
                file.write(data)
            upload.indexes.append(index)
        return {"status": "chunk_received", "chunk_index": index}

    def _stride(self, upload: _Upload, size: int, data: bytes, arguments: Json) -> int:
        if upload.chunk_size is not None or arguments.get("total_chunks", 1) == 1:
            return size
        is_last = arguments["chunk_index"] == arguments["total_chunks"] - 1
        return len(data) if not is_last else (upload.total_size - len(data)) // arguments["chunk_index"]

    def _finish(self, arguments: Json) -> Json:
        upload = self.uploads.get(arguments["upload_id"])
        if upload is None:
            raise ToolError("Upload ID not found")
        size = upload.path.stat().st_size
        if self.checks_size and size != upload.total_size:
            raise ToolError(f"Size mismatch: expected {upload.total_size}, got {size}")
        upload.path.replace(self.directory / upload.filename)
        del self.uploads[arguments["upload_id"]]
        return {"status": "completed", "upload_id": arguments["upload_id"], "filename": upload.filename}

    # How they answer.

    def wrapped(self, result: Json | None, error: str | None, *, is_missing: bool = False) -> object:
        """The envelopes, as recorded from real servers."""
        if self.dialect == "jsonrpc":
            if is_missing:
                return {"jsonrpc": "2.0", "id": 3,
                        "error": {"code": -32603, "message": "Internal error", "data": error}}  # fmt: skip
            text = json.dumps(result if error is None else {"error": error}, indent=1)
            return {"jsonrpc": "2.0", "result": {"content": [{"type": "text", "text": text}]}, "id": 3}
        if is_missing:
            return {"success": False, "result": None, "error": f"404: {error}"}
        if self.is_flat:
            return {"success": True, **(result or {})} if error is None else {"success": False, "error": error}
        inner = result if error is None else {"error": error}
        return {"success": True, "result": inner, "error": None}

    def routes(self) -> tuple[str, ...]:
        return {
            "documented": ("/mcp/tool",),
            "chunked": ("/mcp/execute", "/tools/execute"),
            "direct": ("/mcp/execute", "/tools/execute"),
            "jsonrpc": ("/mcp", "/messages"),
        }[self.dialect]


class _HttpServer(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], owner: McpServer) -> None:
        self.owner = owner
        self._open: set[socket.socket] = set()
        super().__init__(address, _Handler)
        if owner.tls is not None:
            self.socket = owner.tls.wrap_socket(self.socket, server_side=True)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        self.owner.connections += 1
        super().process_request(request, client_address)

    def close_all(self) -> None:
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # resets are what these tests are about


class _ResetError(Exception):
    """The connection is to be reset now."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _HttpServer

    @property
    def owner(self) -> McpServer:
        return self.server.owner

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the name is the base class's
        pass

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except (_ResetError, OSError):
            self.close_connection = True

    def do_GET(self) -> None:
        owner = self.owner
        owner.pages.append(self.path)
        if self._is_refused():
            return
        if self.path == "/mcp/version" and owner.version is not None:
            self._json({"version": owner.version})
        elif self.path == "/mcp/tools" and not owner.is_hiding_tools:
            self._json({"tools": [{"name": name, "description": ""} for name in owner.tools()]})
        else:
            self._json({"detail": "Not Found"}, status=404)

    def do_POST(self) -> None:
        owner = self.owner
        length = int(self.headers["Content-Length"])
        if owner.most_body_bytes is not None and length > owner.most_body_bytes:
            self.close_connection = True  # as nginx does: answered before the body was read
            self._send(413, b"<html><head><title>413 Request Entity Too Large</title></head></html>", {},
                       "text/html")  # fmt: skip
            self._drain(length)
            return
        if self._is_refused():
            return
        if self.path not in owner.routes():
            self.rfile.read(length)
            self._json({"detail": "Not Found"}, status=404)
            return
        if self.headers["Content-Type"] != "application/json":
            self.rfile.read(length)
            self._json({"detail": [{"loc": ["body"], "msg": "value is not a valid dict"}]}, status=422)
            return
        request = json.loads(self.rfile.read(length))
        call = request["params"] if owner.dialect == "jsonrpc" else request
        tool = call["name"] if owner.dialect == "jsonrpc" else call["tool"]
        arguments = call.get("arguments") or {}
        content = {key: value for key, value in arguments.items() if key in {"chunk", "content", "data"}}
        known = {key: value for key, value in arguments.items() if key not in content}
        size = sum(map(len, content.values()))
        owner.calls.append(Call(tool, known, size, self.client_address[1], self.headers.get("Authorization")))
        self._serve(tool, arguments)

    def _serve(self, tool: str, arguments: Json) -> None:
        owner = self.owner
        with owner.lock:
            struck = [fault for fault in owner.faults if fault.strikes(tool)]
        for fault in struck:
            if fault.action is not None:
                fault.action()
        kinds = {fault.kind: fault for fault in struck}
        if "reset-before" in kinds:
            self._reset()
        if "slow" in kinds:
            time.sleep(kinds["slow"].seconds)
        if "forget" in kinds:
            owner.uploads.clear()
        if not self._answer_instead(kinds):
            self._answer_after_all(tool, arguments, kinds)

    def _answer_instead(self, kinds: dict[str, Fault]) -> bool:
        """Answer without doing anything, if a fault says so."""
        if fault := kinds.get("status"):
            self._send(fault.status, fault.body or b'{"detail":"on demand"}', fault.headers)
        elif fault := kinds.get("raw"):
            self._send(200, fault.body, fault.headers)
        elif fault := kinds.get("answer"):
            self._json(fault.answer)
        elif "lie" in kinds:
            self._json(self.owner.wrapped({"status": "completed"}, None))
        else:
            return False
        return True

    def _answer_after_all(self, tool: str, arguments: Json, kinds: dict[str, Fault]) -> None:
        answer = self._run(tool, arguments)
        if "double" in kinds:
            self._run(tool, arguments)
        if "truncate" in kinds:
            for path in self.owner.directory.iterdir():
                os.truncate(path, path.stat().st_size // 2)
        if "reset-after" in kinds:
            self._reset()
        self._json(answer)

    def _run(self, tool: str, arguments: Json) -> object:
        function = self.owner.tools().get(tool)
        if function is None:
            return self.owner.wrapped(None, f"Tool '{tool}' not found", is_missing=True)
        try:
            return self.owner.wrapped(function(arguments), None)
        except ToolError as error:
            return self.owner.wrapped(None, str(error))

    def _is_refused(self) -> bool:
        token = self.owner.token
        if token is None or self.headers.get("Authorization") == f"Bearer {token}":
            return False
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self._json({"detail": "Invalid token"}, status=401)
        return True

    def _reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        raise _ResetError

    def _drain(self, length: int) -> None:
        with contextlib.suppress(OSError):
            self.connection.settimeout(0.2)
            while length > 0:
                length -= len(self.connection.recv(1 << 16)) or length

    def _json(self, document: object, *, status: int = 200) -> None:
        self._send(status, json.dumps(document).encode(), {})

    def _send(self, status: int, body: bytes, headers: dict[str, str], kind: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("Content-Type", headers.get("Content-Type", kind))
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            if name != "Content-Type":
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


@contextlib.contextmanager
def mcp_server(directory: str | os.PathLike[str], dialect: str = "documented", **options: Any) -> Iterator[McpServer]:
    with McpServer(directory, dialect, **options) as server:
        yield server
