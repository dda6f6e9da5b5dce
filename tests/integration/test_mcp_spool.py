"""What the source aitoolkit-mcp keeps on disk, and for how long; and what a server's listing can do to it."""

import base64
import contextlib
import json
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lorawatch.domain.model import Standing, Version
from lorawatch.sources.aitoolkit_api import AIToolkitApi
from lorawatch.sources.fetching import Fetcher
from lorawatch.sources.spool import Spool
from lorawatch.transport.http import HttpClient, HttpSettings
from tests.factories import lora_bytes
from tests.fakes.aitoolkit_server import AIToolkitServer
from tests.fakes.mcp_server import Fault
from tests.fakes.raw_server import RawServer, read_request
from tests.integration.test_mcp_source import daemon_for, spooled
from tests.mcp_scenes import NAME, ONE, DictionaryMemory
from tests.scenes import eventually

MIB = 1 << 20


def listing(*models: dict[str, Any] | str) -> Fault:
    answer = {"success": True, "result": {"models": list(models)}, "error": None}
    return Fault("list_exported_models", "answer", times=10**6, answer=answer)


def polls(server: AIToolkitServer, count: int = 3) -> bool:
    """Wait until the listing has been asked for so often again."""
    before = server.count("list_exported_models")
    return eventually(lambda: server.count("list_exported_models") >= before + count)


@contextlib.contextmanager
def fetcher_of(
    tmp_path: Path,
    server: AIToolkitServer,
    *,
    standing: Callable[[str, Version], Standing] = lambda _, __: Standing.OPEN,
    **options: Any,
) -> Iterator[Fetcher]:
    spool = Spool(str(tmp_path / "spool"), standing)
    spool.prepare()
    http = HttpClient(HttpSettings(server.url, read_timeout_seconds=5))
    yield Fetcher(AIToolkitApi(http), spool, poll_seconds=0.05, memory=DictionaryMemory(), **options)


def kept(tmp_path: Path) -> list[str]:
    spool = tmp_path / "spool"
    return sorted(str(path.relative_to(spool)) for path in spool.rglob("*") if path.is_file())


def test_what_was_delivered_and_is_not_listed_any_more_leaves_the_spool(tmp_path: Path) -> None:
    with AIToolkitServer(tmp_path / "models", "current") as server, daemon_for(tmp_path, server) as daemon:
        (server.directory / NAME).write_bytes(ONE)
        daemon.wait_for("delivery.delivered")
        assert polls(server)
        assert spooled(tmp_path) == [NAME]
        (server.directory / NAME).rename(tmp_path / "away")
        assert eventually(lambda: spooled(tmp_path) == [])
        assert (tmp_path / "loras" / NAME).read_bytes() == ONE
        (tmp_path / "away").rename(server.directory / NAME)  # a listing that was short for a moment
        assert polls(server)
        assert server.downloads() == 1
        assert not daemon.of("delivery.cancelled")


def test_what_is_still_owed_stays_in_the_spool(tmp_path: Path) -> None:
    with AIToolkitServer(tmp_path / "models", "current") as server, daemon_for(tmp_path, server) as daemon:
        (tmp_path / "loras").rename(tmp_path / "unmounted")
        (server.directory / NAME).write_bytes(ONE)
        daemon.wait_for("delivery.waiting")
        (server.directory / NAME).unlink()
        assert polls(server)
        assert spooled(tmp_path) == [NAME]
        (tmp_path / "unmounted").rename(tmp_path / "loras")
        daemon.wait_for("delivery.delivered")
        assert eventually(lambda: spooled(tmp_path) == [])


def test_what_was_rejected_leaves_with_the_servers_own_file(tmp_path: Path) -> None:
    with AIToolkitServer(tmp_path / "models", "current") as server, daemon_for(tmp_path, server) as daemon:
        (server.directory / NAME).write_bytes(b"x" * 100)
        daemon.wait_for("file.rejected")
        assert polls(server)
        assert spooled(tmp_path) == [NAME]
        (server.directory / NAME).unlink()
        assert eventually(lambda: spooled(tmp_path) == [])
        assert server.downloads() == 1


@pytest.mark.parametrize("answer", [{"status": "ok"}, {"error": "out of luck"}])
def test_a_listing_that_cannot_be_read_takes_nothing_out_of_the_spool(
    tmp_path: Path, answer: dict[str, object]
) -> None:
    with (
        AIToolkitServer(tmp_path / "models", "current") as server,
        fetcher_of(tmp_path, server, standing=lambda _, __: Standing.DELIVERED) as fetcher,
    ):
        (server.directory / NAME).write_bytes(ONE)
        fetcher.poll()
        server.faults.append(Fault("list_exported_models", "answer", times=99, answer={"result": answer}))
        fetcher.poll()
        assert fetcher.trouble is not None
        assert kept(tmp_path) == [NAME]


def test_where_room_is_short_the_oldest_delivered_models_make_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owed = {"b.safetensors"}

    def standing(path: str, _: Version) -> Standing:
        return Standing.OPEN if os.path.basename(path) in owed else Standing.DELIVERED

    disk_bytes = 7 * MIB // 2
    monkeypatch.setattr("lorawatch.sources.spool.KEPT_FREE_BYTES", 0)
    monkeypatch.setattr(
        "lorawatch.sources.spool.free_bytes",
        lambda directory: disk_bytes - sum(path.stat().st_size for path in Path(directory).rglob("*")),
    )
    with (
        AIToolkitServer(tmp_path / "models", "current") as server,
        fetcher_of(tmp_path, server, standing=standing) as fetcher,
    ):
        for number, name in enumerate(["a", "b", "c"]):
            (server.directory / f"{name}.safetensors").write_bytes(lora_bytes(size_bytes=MIB, seed=number))
            fetcher.poll()
            os.utime(tmp_path / "spool" / f"{name}.safetensors", (number, number))
        (server.directory / "d.safetensors").write_bytes(lora_bytes(size_bytes=MIB, seed=9))
        fetcher.poll()
        assert fetcher.trouble is None
        assert kept(tmp_path) == ["b.safetensors", "c.safetensors", "d.safetensors"]
        owed.update({"c.safetensors", "d.safetensors"})
        (server.directory / "e.safetensors").write_bytes(lora_bytes(size_bytes=3 * MIB // 2, seed=10))
        fetcher.poll()
        assert fetcher.trouble is not None
        assert fetcher.trouble[0] == "low-disk-space"
        assert kept(tmp_path) == ["b.safetensors", "c.safetensors", "d.safetensors"]
        owed.clear()
        fetcher.poll()
        assert "e.safetensors" in kept(tmp_path)
        assert server.downloads() == 5  # none of them twice


HOSTILE = [
    "../escape",
    "/absolute",
    "a/../../escape",
    ".hidden",
    ".hidden/cat",
    "bad\x1b[2J",
    "bad\ud800",
    "x" * 300,
    "dog.safetensors/below-a-file",
    "",
    "\0",
]


def test_names_that_lead_astray_are_left_out_and_hold_up_nobody(tmp_path: Path) -> None:
    with AIToolkitServer(tmp_path / "models", "current") as server, fetcher_of(tmp_path, server) as fetcher:
        (server.directory / "dog.safetensors").write_bytes(ONE)
        (server.directory / "zebra.safetensors").write_bytes(ONE)
        names = ["dog", *HOSTILE, "zebra"]
        server.faults.append(listing(*({"name": name, "size": len(ONE)} for name in names), 7, None, {"size": 3}))  # type: ignore[arg-type]
        fetcher.poll()
        assert kept(tmp_path) == ["dog.safetensors", "zebra.safetensors"]
        assert not (tmp_path / "escape.safetensors").exists()


def test_two_names_of_one_file_are_not_fetched_in_turns(tmp_path: Path) -> None:
    with AIToolkitServer(tmp_path / "models", "current") as server, fetcher_of(tmp_path, server) as fetcher:
        (server.directory / NAME).write_bytes(ONE)
        server.faults.append(
            listing({"name": "cat", "size": len(ONE)}, {"name": NAME, "size": len(ONE), "modified": 1})
        )
        for _ in range(3):
            fetcher.poll()
        assert server.downloads() == 1


def test_what_nobody_would_look_at_is_not_fetched(tmp_path: Path) -> None:
    with (
        AIToolkitServer(tmp_path / "models", "current") as server,
        daemon_for(tmp_path, server, environ={"LORAWATCH_WATCH__EXCLUDE": "dog*"}) as daemon,
    ):
        server.faults.append(
            listing(*({"name": name, "size": len(ONE)} for name in ("optimizer.pt", "dog", "cat.safetensors")))
        )
        for name in (NAME, "dog.safetensors", "optimizer.pt"):
            (server.directory / name).write_bytes(ONE)
        daemon.wait_for("delivery.delivered", remote_name=NAME)
        assert polls(server)
        assert server.downloads() == 1


@pytest.mark.parametrize("existing", ["ignore", "deliver"])
def test_existing_holds_for_what_a_server_lists_at_the_very_first_start(tmp_path: Path, existing: str) -> None:
    environ = {"LORAWATCH_WATCH__EXISTING": existing}
    with AIToolkitServer(tmp_path / "models", "current") as server:
        (server.directory / "old.safetensors").write_bytes(ONE)
        with daemon_for(tmp_path, server, environ=environ) as daemon:
            assert polls(server)
            (server.directory / NAME).write_bytes(lora_bytes(size_bytes=MIB, seed=5))
            daemon.wait_for("delivery.delivered", remote_name=NAME)
            daemon.stop()
            daemon.start()
            assert polls(server)
            assert server.downloads() == (1 if existing == "ignore" else 2)


def test_a_model_that_cannot_be_fetched_is_not_carried_at_every_poll(tmp_path: Path) -> None:
    with AIToolkitServer(tmp_path / "models", "current") as server, fetcher_of(tmp_path, server) as fetcher:
        (server.directory / NAME).write_bytes(ONE)
        (server.directory / "dog.safetensors").write_bytes(ONE)
        wrong = {"status": "success", "data": base64.b64encode(b"short").decode(), "size": 5}
        server.faults.append(
            Fault("download_model", "answer", times=10**6, answer={"success": True, "result": wrong, "error": None})
        )
        stop = threading.Event()
        for _ in range(40):
            fetcher.poll()
            assert fetcher.trouble is not None
            assert fetcher.trouble[0] == "size-mismatch"
            stop.wait(0.02)
        assert server.downloads() <= 2 * 6  # 40 polls in 0.8 s and more: at 0, 0.1, 0.3, 0.7, …
        assert kept(tmp_path) == []


def test_a_server_that_asks_to_be_left_alone_is_not_polled_meanwhile(tmp_path: Path) -> None:
    with AIToolkitServer(tmp_path / "models", "current") as server:
        fault = Fault("list_exported_models", "status", times=10**6, status=429, headers={"Retry-After": "300"})
        server.faults.append(fault)
        with daemon_for(tmp_path, server) as daemon:
            assert daemon.wait_for("watch.incomplete")["code"] == "server-busy"
            threading.Event().wait(1.5)  # several of its polls
            assert len(server.calls) == 1


def endless(listed: dict[str, Any]) -> Callable[[socket.socket], None]:
    """List one model, and give bytes of it without end."""

    def serve(connection: socket.socket) -> None:
        while True:
            request = read_request(connection)
            if b"list" in request.body:
                body = json.dumps({"success": True, "result": {"models": [listed]}, "error": None}).encode()
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
                continue
            connection.sendall(b'HTTP/1.1 200 OK\r\n\r\n{"success":true,"result":{"data":"')
            while True:
                connection.sendall(b"QUJD" * 65536)

    return serve


@pytest.mark.timeout(60)
@pytest.mark.parametrize(("size", "code"), [({"size": 4 * MIB}, "size-mismatch"), ({}, "disk-full")])
def test_a_download_without_end_fills_no_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: dict[str, int], code: str
) -> None:
    most: list[int] = [0]

    def free(directory: str) -> int:
        used = sum(path.stat().st_size for path in Path(directory).rglob("*"))
        most.append(used)
        return 64 * MIB - used

    monkeypatch.setattr("lorawatch.sources.spool.KEPT_FREE_BYTES", 16 * MIB)
    monkeypatch.setattr("lorawatch.sources.spool.free_bytes", free)
    with RawServer(endless({"name": "cat", **size})) as server:
        spool = Spool(str(tmp_path / "spool"), lambda _, __: Standing.OPEN)
        spool.prepare()
        http = HttpClient(HttpSettings(server.url, read_timeout_seconds=20))
        fetcher = Fetcher(AIToolkitApi(http), spool, poll_seconds=1, memory=DictionaryMemory())
        fetcher.poll()
        assert fetcher.trouble is not None
        assert fetcher.trouble[0] == code
    assert kept(tmp_path) == []
    assert max(most) <= 48 * MIB
    assert "size" not in size or max(most) <= size["size"] + MIB


def test_a_daemon_killed_in_the_middle_of_a_download_leaves_nothing_of_it(tmp_path: Path) -> None:
    with AIToolkitServer(tmp_path / "models", "current") as server, daemon_for(tmp_path, server) as daemon:
        spool = tmp_path / "state" / "spool" / "training-box"
        large = lora_bytes(size_bytes=48 * MIB, seed=4)
        plain = server._download_by_name

        def half(arguments: dict[str, Any]) -> dict[str, Any]:
            server.faults.clear()
            return plain(arguments)

        server._download_by_name = half  # type: ignore[method-assign]
        (server.directory / NAME).write_bytes(large)
        assert eventually(lambda: any(name.startswith(".fetching-") for name in os.listdir(spool)))
        daemon.signal(signal.SIGKILL)
        daemon.wait()
        daemon.start()
        daemon.wait_for("delivery.delivered")
        assert (tmp_path / "loras" / NAME).read_bytes() == large
        assert spooled(tmp_path) == [NAME]
