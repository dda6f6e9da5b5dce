"""An upload that is taken up again by another process: with other settings, on a server that has changed, or ended."""

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lorawatch.domain.errors import DestinationError, FileChangedError
from lorawatch.domain.ports import Consignment
from tests.contract.bench import Sender
from tests.fakes.mcp_server import Fault, McpServer
from tests.mcp_scenes import (
    CHUNK_BYTES,
    NAME,
    ONE,
    TWO,
    Diary,
    DictionaryMemory,
    daemon_for,
    open_destination,
    send,
    sender_and_server,
)
from tests.scenes import eventually, save_by_rename

STOPPED_AT = 7
PROBES = 1


def stored(server: McpServer) -> bytes | None:
    path = server.directory / NAME
    return path.read_bytes() if path.exists() else None


def interrupted(sender: Sender, server: McpServer, memory: DictionaryMemory, **options: Any) -> Consignment:
    """A consignment whose upload ended in the middle, as the journal gives it to the next attempt."""
    diary = Diary()
    fault = Fault("append", "status", after=STOPPED_AT + PROBES, status=503, headers={"Retry-After": "60"})
    server.faults.append(fault)
    consignment = replace(sender.consignment(ONE), waypoints=diary)
    with pytest.raises(DestinationError):
        send(open_destination(server, memory=memory, **options), consignment)
    server.faults.clear()
    assert diary.resume
    return replace(consignment, delivery=replace(consignment.delivery, resume=diary.resume))


@pytest.mark.parametrize("chunk_bytes", [CHUNK_BYTES // 2, CHUNK_BYTES * 2, 0])
def test_an_upload_goes_on_with_the_chunk_size_that_it_began_with(tmp_path: Path, chunk_bytes: int) -> None:
    with sender_and_server(tmp_path) as (sender, server):
        memory = DictionaryMemory()
        consignment = interrupted(sender, server, memory)
        send(open_destination(server, memory=memory, chunk_bytes=chunk_bytes), consignment)
        assert stored(server) == ONE
        assert server.count("start") == 1


def test_an_upload_that_goes_on_is_begun_anew_where_its_chunks_are_too_large_now(tmp_path: Path) -> None:
    with sender_and_server(tmp_path) as (sender, server):
        memory = DictionaryMemory()
        consignment = interrupted(sender, server, memory)
        server.most_body_bytes = CHUNK_BYTES
        send(open_destination(server, memory=memory), consignment)
        assert stored(server) == ONE


@pytest.mark.parametrize("parallel_chunks", [1, 4])
def test_an_upload_goes_on_whatever_parallel_chunks_says_now(tmp_path: Path, parallel_chunks: int) -> None:
    with sender_and_server(tmp_path, listing=("size", "sha256")) as (sender, server):
        memory = DictionaryMemory()
        consignment = interrupted(sender, server, memory, parallel_chunks=5 - parallel_chunks)
        send(open_destination(server, memory=memory, parallel_chunks=parallel_chunks), consignment)
        assert stored(server) == ONE


@pytest.mark.parametrize("change", ["version", "dialect", "url", "name"])
def test_an_upload_is_begun_anew_on_what_is_another_server_or_another_name(tmp_path: Path, change: str) -> None:
    with sender_and_server(tmp_path, version="1") as (sender, server):
        memory = DictionaryMemory()
        consignment = interrupted(sender, server, memory)
        if change == "version":
            server.version = "2"
        elif change == "dialect":
            server.version, server.dialect = "2", "chunked"
        elif change == "url":
            memory = DictionaryMemory()
            server.move()
        else:
            consignment = replace(consignment, delivery=replace(consignment.delivery, remote_name="dog.safetensors"))
        send(open_destination(server, memory=memory), consignment)
        assert (server.directory / consignment.delivery.remote_name).read_bytes() == ONE
        assert server.count("start") + server.count("init") == 2


def test_an_upload_does_not_go_on_with_a_file_that_was_rewritten(tmp_path: Path) -> None:
    with sender_and_server(tmp_path) as (sender, server):
        memory = DictionaryMemory()
        consignment = interrupted(sender, server, memory)
        sender.rewrite(TWO)
        with pytest.raises(FileChangedError):
            open_destination(server, memory=memory).prepare(
                consignment, progress=lambda _: None, stop=threading.Event()
            )
        assert server.count("finish") == 0


@pytest.mark.parametrize("resume", ["", "{", "[]", '{"server": 1}', "null", '{"server":"a","remote_name":"b"}'])
def test_a_note_that_is_none_is_an_upload_from_the_beginning(tmp_path: Path, resume: str) -> None:
    with sender_and_server(tmp_path) as (sender, server):
        consignment = sender.consignment(ONE)
        again = replace(consignment, delivery=replace(consignment.delivery, resume=resume))
        send(open_destination(server), again)
        assert stored(server) == ONE


@pytest.mark.parametrize("forgets", [True, False])
def test_a_server_that_is_killed_and_comes_back_gets_the_rest_or_everything(tmp_path: Path, forgets: bool) -> None:
    (tmp_path / "outputs").mkdir()
    with McpServer(tmp_path / "loras") as server, daemon_for(tmp_path, server) as daemon:
        server.faults.append(Fault("append", "slow", times=10**6, seconds=0.05))
        save_by_rename(tmp_path / "outputs" / NAME, ONE)
        assert eventually(lambda: len(server.indexes()) > 5)
        server.stop()
        daemon.wait_for("destination.down")
        if forgets:
            server.uploads.clear()
        server.faults.clear()
        server.start()
        daemon.wait_for("delivery.delivered")
        assert stored(server) == ONE
        assert server.count("start") == (2 if forgets else 1)


def test_retry_ends_the_rest_that_a_busy_server_was_given(tmp_path: Path) -> None:
    (tmp_path / "outputs").mkdir()
    with McpServer(tmp_path / "loras") as server:
        server.faults.append(Fault("start", "status", times=10**6, status=429, headers={"Retry-After": "300"}))
        with daemon_for(tmp_path, server, retry="first_seconds = 60\nmax_seconds = 300") as daemon:
            save_by_rename(tmp_path / "outputs" / NAME, ONE)
            daemon.wait_for("delivery.waiting", code="server-busy")
            server.faults.clear()
            assert daemon.command("retry", "--all").exit_code == 0
            daemon.wait_for("delivery.delivered")


def test_once_does_not_wait_for_the_rest_of_a_busy_server(tmp_path: Path) -> None:
    (tmp_path / "outputs").mkdir()
    with McpServer(tmp_path / "loras") as server:
        server.faults.append(Fault("start", "status", times=10**6, status=429, headers={"Retry-After": "300"}))
        for name in ("a", "b", "c"):
            save_by_rename(tmp_path / "outputs" / f"{name}.safetensors", ONE)
        finished = daemon_for(tmp_path, server, retry="first_seconds = 60\nmax_seconds = 300").run_once()
        assert finished.exit_code == 3
        assert server.count("start") <= 2
