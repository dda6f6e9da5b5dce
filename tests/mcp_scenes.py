"""What the tests of MCP servers share: a destination in this process, or a daemon, in front of a fake server."""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lorawatch.destinations.comfyui_mcp.destination import ComfyUIMcpDestination
from lorawatch.destinations.comfyui_mcp.server import Server
from lorawatch.domain.model import RemoteFile
from lorawatch.domain.ports import Consignment, Waypoints
from lorawatch.transport.http import HttpClient, HttpSettings
from tests.contract.bench import Sender
from tests.factories import lora_bytes
from tests.fakes.mcp_server import McpServer
from tests.process import Lorawatch

CHUNK_BYTES = 64 << 10
ONE = lora_bytes(size_bytes=1 << 20, seed=1)  # about 16 chunks
TWO = lora_bytes(size_bytes=1 << 20, seed=2)  # same name, same size, other weights
NAME = "cat.safetensors"


class DictionaryMemory:
    """Outlives the destination, as the journal does."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}

    def recall(self, key: str) -> str | None:
        return self.texts.get(key)

    def remember(self, key: str, value: str | None) -> None:
        self.texts.pop(key, None)
        if value is not None:
            self.texts[key] = value


@dataclass
class Diary(Waypoints):
    """What the destination told the engine on the way."""

    resume: str | None = None
    resumed_at: list[int] = field(default_factory=list)

    def reached(self, resume: str, *, sent_bytes: int) -> None:
        self.resume = resume

    def resumed(self, sent_bytes: int) -> None:
        self.resumed_at.append(sent_bytes)


def open_destination_at(
    url: str,
    *,
    memory: DictionaryMemory | None = None,
    api: str = "auto",
    direct_limit_bytes: int = 0,
    chunk_bytes: int = CHUNK_BYTES,
    parallel_chunks: int = 1,
    token: str = "",
    read_timeout_seconds: float = 5,
    verify_tls: bool = True,
) -> ComfyUIMcpDestination:
    memory = memory or DictionaryMemory()
    settings = HttpSettings(
        url,
        token=token,
        connect_timeout_seconds=2,
        read_timeout_seconds=read_timeout_seconds,
        verify_tls=verify_tls,
    )
    return ComfyUIMcpDestination(
        name="there",
        server=Server(HttpClient(settings), api=api, memory=memory),
        direct_limit_bytes=direct_limit_bytes,
        chunk_bytes=chunk_bytes,
        parallel_chunks=parallel_chunks,
        memory=memory,
    )


def open_destination(server: McpServer, **options: Any) -> ComfyUIMcpDestination:
    return open_destination_at(server.url, **options)


def send(destination: ComfyUIMcpDestination, consignment: Consignment) -> RemoteFile:
    """Deliver; raise what publish returns as an error."""
    prepared = destination.prepare(consignment, progress=lambda _: None, stop=threading.Event())
    result = destination.publish([prepared])[0]
    if isinstance(result, RemoteFile):
        return result
    raise result


@contextmanager
def sender_and_server(
    tmp_path: Path, dialect: str = "documented", **options: Any
) -> Iterator[tuple[Sender, McpServer]]:
    (tmp_path / "outputs").mkdir(exist_ok=True)
    with McpServer(tmp_path / "loras", dialect, **options) as server:
        yield Sender(str(tmp_path / "outputs")), server


def daemon_for(
    tmp_path: Path, server: McpServer, lines: str = "", *, retry: str = "max_seconds = 0.5", **options: Any
) -> Lorawatch:
    """A daemon that watches `outputs` and delivers to the server in small chunks."""
    (tmp_path / "outputs").mkdir(exist_ok=True)
    if "chunk_bytes" not in lines:
        lines += f"\nchunk_bytes = {CHUNK_BYTES}"
    if "first_seconds" not in retry:
        retry = f"first_seconds = 0.1\n{retry}"
    if "read_timeout" not in lines:
        lines += "\nread_timeout_seconds = 5"
    config = (
        f'[watch]\ndirectories = ["{tmp_path / "outputs"}"]\nquiet_seconds = 0.2\n'
        f"[retry]\n{retry}\n"
        f'[[destinations]]\nname = "box"\nkind = "comfyui-mcp"\nurl = "{server.url}"\n'
        f"direct_limit_bytes = 0\n{lines}\n"
    )
    return Lorawatch(tmp_path, config=config, **options)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
