"""How often a server is asked that does not want to, or cannot: counted in calls, with a backlog waiting."""

import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from lorawatch.domain.errors import DestinationDownError
from tests.fakes.mcp_server import Fault, McpServer
from tests.fakes.raw_server import RawServer, answer, read_request
from tests.mcp_scenes import ONE, daemon_for, open_destination_at
from tests.scenes import eventually, save_by_rename

BACKLOG = 30


def counting(status: str, headers: str = "") -> tuple[Callable[[socket.socket], None], list[str]]:
    """Serve nothing but this answer, and keep what was asked for."""
    lines: list[str] = []

    def serve(connection: socket.socket) -> None:
        while True:
            lines.append(read_request(connection).line)
            connection.sendall(answer(b'{"detail": "on demand"}', status=status, headers=headers))

    return serve, lines


@pytest.mark.parametrize(
    ("status", "most"),
    [("401 Unauthorized", 1), ("403 Forbidden", 1), ("500 Internal Server Error", 8), ("404 Not Found", 12),
     ("502 Bad Gateway", 8), ("418 Teapot", 30)],
)  # fmt: skip
def test_finding_out_that_a_server_is_none_takes_few_calls(status: str, most: int) -> None:
    serve, lines = counting(status)
    with RawServer(serve) as server:
        with pytest.raises(DestinationDownError):
            open_destination_at(server.url).probe(needed_bytes=0)
        assert len(lines) <= most


def with_backlog(tmp_path: Path) -> None:
    for number in range(BACKLOG):
        path = tmp_path / "outputs" / f"cat{number}.safetensors"
        path.parent.mkdir(exist_ok=True)
        save_by_rename(path, ONE)


@pytest.mark.parametrize("retry_after", ["Retry-After: 600\r\n", ""])
@pytest.mark.parametrize("tool", ["list-loras", "start", "append"])
def test_a_server_that_is_busy_is_asked_by_one_delivery_not_by_all(tmp_path: Path, tool: str, retry_after: str) -> None:
    with_backlog(tmp_path)
    with McpServer(tmp_path / "loras") as server:
        daemon = daemon_for(tmp_path, server, retry="first_seconds = 60\nmax_seconds = 600")
        headers = {"Retry-After": "600"} if retry_after else {}
        server.faults.append(Fault(tool, "status", after=2, times=10**6, status=429, headers=headers))
        with daemon:
            assert eventually(lambda: bool(daemon.of("delivery.waiting", code="server-busy")))
            calls = len(server.calls)
            quiet = threading.Event()
            quiet.wait(3)
            assert len(server.calls) <= calls + 16  # both lanes may be on their way
            assert not daemon.of("delivery.failed")


def test_a_server_that_fails_is_asked_by_one_delivery_not_by_all(tmp_path: Path) -> None:
    with_backlog(tmp_path)
    with McpServer(tmp_path / "loras") as server:
        daemon = daemon_for(tmp_path, server, retry="first_seconds = 60\nmax_seconds = 600")
        server.faults.append(Fault("append", "status", after=2, times=10**6, status=500))
        with daemon:
            assert eventually(lambda: bool(daemon.of("delivery.waiting", code="server-error")))
            calls = len(server.calls)
            threading.Event().wait(3)
            assert len(server.calls) <= calls + 16
