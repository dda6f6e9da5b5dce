"""What a server leaves in doubt: nothing that may be wrong counts as delivered, and nothing is lost or overwritten."""

import base64
import json
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lorawatch.domain.errors import (
    DeliveryDelayedError,
    DeliveryRefusedError,
    DestinationDownError,
    DestinationError,
)
from lorawatch.domain.model import RemoteFile
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
    sha256,
)
from tests.scenes import save_by_rename

CHUNKS = -(-len(ONE) // CHUNK_BYTES)
APPEND = "chunked-append"
PROBES = 1  # the first append finds out whether the tool is there


def at_chunk(index: int, kind: str, **values: Any) -> Fault:
    return Fault(APPEND, kind, after=index + PROBES, **values)


def stored(server: McpServer, name: str = NAME) -> bytes | None:
    path = server.directory / name
    return path.read_bytes() if path.exists() else None


def test_an_upload_of_which_only_the_end_is_missing_is_resumed_there(tmp_path: Path) -> None:
    with sender_and_server(tmp_path) as (sender, server):
        memory, diary = DictionaryMemory(), Diary()
        server.faults.append(Fault("finish", "status", status=503, headers={"Retry-After": "60"}))
        consignment = replace(sender.consignment(ONE), waypoints=diary)
        with pytest.raises(DestinationError):
            send(open_destination(server, memory=memory), consignment)
        again = replace(consignment, delivery=replace(consignment.delivery, resume=diary.resume))
        send(open_destination(server, memory=memory), again)
        assert stored(server) == ONE
        assert server.indexes() == list(range(CHUNKS))


@pytest.mark.parametrize(
    "listing",
    [
        {"status": "ok"},
        {"message": "hello"},
        {"loras": "cat.safetensors"},
        {"loras": [{"id": 5, "title": "cat"}]},
        {"loras": [7, None]},
    ],
)
def test_a_listing_in_which_no_list_is_found_is_not_an_empty_one(tmp_path: Path, listing: dict[str, object]) -> None:
    with sender_and_server(tmp_path) as (sender, server):
        destination = open_destination(server)
        destination.probe(needed_bytes=0)
        (server.directory / NAME).write_bytes(b"somebody's")
        server.faults.append(Fault("list-loras", "answer", times=99, answer={"success": True, "result": listing}))
        with pytest.raises(DestinationDownError) as down:
            destination.find(NAME)
        assert down.value.code == "answer-unreadable"
        with pytest.raises(DestinationError):
            send(destination, sender.consignment(ONE))
        with pytest.raises(DestinationDownError):
            open_destination(server).probe(needed_bytes=0)
        assert stored(server) == b"somebody's"


@pytest.mark.parametrize("listing", [{"loras": []}, [], {"loras": {}}, {"models": []}])
def test_an_empty_listing_is_one(tmp_path: Path, listing: object) -> None:
    with sender_and_server(tmp_path) as (_, server):
        answer = {"success": True, "result": listing, "error": None}
        server.faults.append(Fault("list-loras", "answer", times=99, answer=answer))
        assert open_destination(server).find(NAME) is None


def test_a_chunk_that_may_be_stored_twice_is_sent_again_where_no_size_is_told(tmp_path: Path) -> None:
    with sender_and_server(tmp_path, placement="append", checks_size=False, listing=("names",)) as (sender, server):
        server.faults.append(at_chunk(3, "reset-after"))
        send(open_destination(server), sender.consignment(ONE))
        assert stored(server) == ONE
        assert server.count("start") == 2


def test_what_was_resumed_is_sent_again_where_no_size_is_told(tmp_path: Path) -> None:
    with sender_and_server(tmp_path, placement="append", checks_size=False, listing=("names",)) as (sender, server):
        diary, seen = Diary(), Diary()
        consignment = replace(sender.consignment(ONE), waypoints=diary)

        def remember(sent_bytes: int) -> None:
            if sent_bytes == 6 * CHUNK_BYTES:
                seen.resume = diary.resume

        memory = DictionaryMemory()
        open_destination(server, memory=memory).prepare(consignment, progress=remember, stop=threading.Event())
        again = replace(consignment, delivery=replace(consignment.delivery, resume=seen.resume))  # as after a power cut
        send(open_destination(server, memory=memory), again)
        assert stored(server) == ONE


def test_an_upload_without_any_doubt_is_sent_once_where_only_names_are_told(tmp_path: Path) -> None:
    with sender_and_server(tmp_path, placement="append", checks_size=False, listing=("names",)) as (sender, server):
        server.faults.append(at_chunk(3, "status", status=429))  # that chunk was surely not stored
        send(open_destination(server), sender.consignment(ONE))
        assert stored(server) == ONE
        assert server.count("start") == 1


@pytest.mark.parametrize("dialect", ["documented", "chunked"])
def test_a_replacement_that_is_not_seen_is_not_believed(tmp_path: Path, dialect: str) -> None:
    finish = "finish" if dialect == "documented" else "complete"
    with sender_and_server(tmp_path, dialect, listing=("size", "modified")) as (sender, server):
        destination = open_destination(server)
        first = send(destination, sender.consignment(ONE))
        server.faults.append(Fault(finish, "lie", times=99))
        with pytest.raises(DeliveryRefusedError) as refused:
            send(destination, sender.consignment(TWO, replaces=first))
        assert refused.value.code == "not-listed"
        assert server.count(finish) <= 5


def test_the_time_of_creation_does_not_tell_two_files_apart(tmp_path: Path) -> None:
    with sender_and_server(tmp_path) as (sender, server):
        plain = server.entry

        def entry(name: str) -> dict[str, Any]:
            return {**plain(name), "created": 1_700_000_000}  # as on Windows, where replacing in place keeps it

        server.entry = entry  # type: ignore[method-assign]
        found = send(open_destination(server), sender.consignment(ONE))
        assert not found.is_distinct


def test_chunks_side_by_side_that_were_put_in_a_wrong_order_are_found_out(tmp_path: Path) -> None:
    with sender_and_server(tmp_path, placement="append", listing=("size", "sha256")) as (sender, server):
        server.faults.append(Fault(APPEND, "slow", after=PROBES, seconds=0.3))  # the first chunk comes late
        memory = DictionaryMemory()
        destination = open_destination(server, parallel_chunks=4, memory=memory)
        send(destination, sender.consignment(ONE))
        assert stored(server) == ONE
        assert [note.code for note in destination.notes] == ["chunks-not-side-by-side"]
        starts = server.count("start")
        send(
            open_destination(server, parallel_chunks=4, memory=memory), sender.consignment(TWO, name="dog.safetensors")
        )
        assert stored(server, "dog.safetensors") == TWO
        assert server.count("start") == starts + 1  # one after the other from the beginning


def test_chunks_side_by_side_prove_no_more_than_an_answer_where_no_hash_is_told(tmp_path: Path) -> None:
    (tmp_path / "outputs").mkdir()
    with McpServer(tmp_path / "loras") as server, daemon_for(tmp_path, server, "parallel_chunks = 4") as daemon:
        save_by_rename(tmp_path / "outputs" / NAME, ONE)
        assert daemon.wait_for("delivery.delivered")["evidence"] == "answered"
        assert daemon.wait_for("destination.note")["code"] == "chunk-order-unproven"
        assert stored(server) == ONE
        assert server.count("start") == 1


def test_chunks_side_by_side_are_sent_once_where_the_hash_is_told(tmp_path: Path) -> None:
    with sender_and_server(tmp_path, listing=("size", "sha256")) as (sender, server):
        destination = open_destination(server, parallel_chunks=4)
        assert send(destination, sender.consignment(ONE)).sha256 == sha256(ONE)
        assert server.count("start") == 1
        assert not destination.notes


def test_a_hash_that_only_repeats_what_we_said_proves_nothing(tmp_path: Path) -> None:
    with sender_and_server(tmp_path) as (sender, server):
        told: dict[str, Any] = {}
        start, plain = server._start, server.entry

        def start_and_keep(arguments: dict[str, Any]) -> dict[str, Any]:
            told.update(arguments["metadata"])
            return start(arguments)

        def entry(name: str) -> dict[str, Any]:
            return {**plain(name), **told}

        server._start = start_and_keep  # type: ignore[method-assign]
        server.entry = entry  # type: ignore[method-assign]
        destination = open_destination(server)
        found = send(destination, sender.consignment(ONE))
        assert told["sha256"] == sha256(ONE)
        assert found.sha256 is None
        assert destination.digest(NAME) is None


@pytest.mark.parametrize("status", [400, 404, 422, 500, 502])
def test_a_listing_that_fails_is_the_servers_trouble_and_no_deliverys(tmp_path: Path, status: int) -> None:
    with sender_and_server(tmp_path) as (_, server):
        destination = open_destination(server)
        destination.probe(needed_bytes=0)
        server.faults.append(Fault("list-loras", "status", times=99, status=status))
        with pytest.raises(DestinationDownError):
            destination.find(NAME)


@pytest.mark.parametrize("told", ["9" * 5000, 10**30, -1, float("inf"), [[1]], True, None, "٣", "12 MB"])
def test_a_size_that_is_none_is_unknown(tmp_path: Path, told: object) -> None:
    with sender_and_server(tmp_path, listing=("names",)) as (_, server):
        listing = {"loras": [{"filename": NAME, "size": told, "modified": [[[1]]]}]}
        server.faults.append(Fault("list-loras", "answer", times=99, answer={"result": listing}))
        found = open_destination(server).find(NAME)
        assert isinstance(found, RemoteFile)
        assert found.size_bytes in {None, 10**30}


def test_a_finish_is_not_begun_any_more_when_the_daemon_stops(tmp_path: Path) -> None:
    with sender_and_server(tmp_path) as (sender, server):
        destination, stop = open_destination(server), threading.Event()
        prepared = destination.prepare(sender.consignment(ONE), progress=lambda _: None, stop=stop)
        stop.set()
        outcome = destination.publish([prepared])[0]
        assert isinstance(outcome, DeliveryDelayedError)
        assert outcome.code == "stopped"
        assert server.count("finish") == 0


@pytest.mark.parametrize(
    "name", ["C:cat.safetensors", "a/b.safetensors", "..\\b.safetensors", "a\nb.safetensors", "a\x7fb.safetensors"]
)
def test_a_name_that_is_not_plain_is_never_sent(tmp_path: Path, name: str) -> None:
    with sender_and_server(tmp_path) as (sender, server):
        destination = open_destination(server)
        with pytest.raises(DeliveryRefusedError) as refused:
            destination.prepare(
                sender.consignment(ONE, remote_name=name), progress=lambda _: None, stop=threading.Event()
            )
        assert refused.value.code == "name-refused"
        assert not server.calls


def test_a_download_that_is_longer_than_the_file_is_given_up(tmp_path: Path) -> None:
    with sender_and_server(tmp_path, "chunked") as (sender, server):
        destination = open_destination(server)
        send(destination, sender.consignment(ONE))
        content = base64.b64encode(ONE * 3).decode()
        answer = {"success": True, "result": {"status": "success", "data": content, "size": len(ONE)}}
        server.faults.append(Fault("download_lora", "raw", body=json.dumps(answer).encode()))
        with pytest.raises(DeliveryDelayedError) as delayed:
            destination.digest(NAME)
        assert delayed.value.code == "size-mismatch"
