"""What servers and networks do to an upload, one fault at a time, against a real HTTP server."""

import email.utils
import ssl
import subprocess
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from lorawatch.domain.errors import (
    DeliveryDelayedError,
    DeliveryRefusedError,
    DestinationDownError,
    DestinationError,
    DestinationParkedError,
    FileChangedError,
    NameTakenError,
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
    open_destination,
    send,
    sender_and_server,
)

APPEND = "chunked-append"
# The first append is the probe that finds out whether the tool is there.
PROBES = 1


def at_chunk(index: int, kind: str, **values: object) -> Fault:
    return Fault(APPEND, kind, after=index + PROBES, **values)  # type: ignore[arg-type]  # passed on as they are


def stored(server: McpServer) -> bytes | None:
    path = server.directory / NAME
    return path.read_bytes() if path.exists() else None


@pytest.mark.parametrize("dialect", ["documented", "chunked", "direct", "jsonrpc"])
@pytest.mark.parametrize("is_hiding_tools", [True, False])
def test_every_dialect_is_recognised_and_the_bytes_arrive(tmp_path: Path, dialect: str, is_hiding_tools: bool) -> None:
    with sender_and_server(tmp_path, dialect, is_hiding_tools=is_hiding_tools) as (sender, server):
        found = send(open_destination(server), sender.consignment(ONE))
        assert stored(server) == ONE
        assert found.size_bytes == len(ONE)
        assert server.count("start") + server.count("init") == (dialect in {"documented", "chunked"})


@pytest.mark.parametrize("kind", ["reset-before", "reset-after"])
@pytest.mark.parametrize("placement", ["index", "strict"])
def test_a_reset_around_the_storing_of_a_chunk_costs_one_chunk(tmp_path: Path, kind: str, placement: str) -> None:
    with sender_and_server(tmp_path, placement=placement) as (sender, server):
        server.faults.append(at_chunk(3, kind))
        send(open_destination(server), sender.consignment(ONE))
        assert stored(server) == ONE
        assert server.count("start") == 1
        assert server.indexes().count(3) == 2
        assert sorted(set(server.indexes())) == list(range(-(-len(ONE) // CHUNK_BYTES)))


@pytest.mark.parametrize("checks_size", [True, False])
def test_a_chunk_that_was_stored_twice_never_passes(tmp_path: Path, checks_size: bool) -> None:
    with sender_and_server(tmp_path, placement="append", checks_size=checks_size) as (sender, server):
        server.faults.append(at_chunk(3, "reset-after"))
        send(open_destination(server), sender.consignment(ONE))
        assert stored(server) == ONE
        assert server.count("start") == 2  # begun anew, with another id
        ids = {call.arguments["upload_id"] for call in server.calls if call.tool.endswith("start")}
        assert len(ids) == 2


def test_a_server_that_stores_a_chunk_twice_by_itself_is_found_out(tmp_path: Path) -> None:
    with sender_and_server(tmp_path, placement="append", checks_size=False) as (sender, server):
        server.faults.append(at_chunk(5, "double"))
        send(open_destination(server), sender.consignment(ONE))
        assert stored(server) == ONE


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_passing_status_costs_one_chunk(tmp_path: Path, status: int) -> None:
    with sender_and_server(tmp_path) as (sender, server):
        server.faults.append(at_chunk(2, "status", status=status, body=b"<html>busy</html>"))
        send(open_destination(server), sender.consignment(ONE))
        assert stored(server) == ONE
        assert server.count("start") == 1


@pytest.mark.parametrize("is_date", [False, True])
def test_retry_after_is_honoured_in_seconds_and_as_a_date(tmp_path: Path, is_date: bool) -> None:
    with sender_and_server(tmp_path) as (sender, server):
        value = email.utils.formatdate(time.time() + 3, usegmt=True) if is_date else "2"
        refused_at: list[float] = []
        fault = at_chunk(2, "status", status=429, headers={"Retry-After": value})
        fault.action = lambda: refused_at.append(time.monotonic())
        came_back = at_chunk(3, "none")
        came_back.action = lambda: refused_at.append(time.monotonic())
        server.faults += [fault, came_back]
        send(open_destination(server), sender.consignment(ONE))
        assert refused_at[1] - refused_at[0] >= 1.9
        assert stored(server) == ONE


def test_a_long_retry_after_is_left_to_the_delivery(tmp_path: Path) -> None:
    with sender_and_server(tmp_path) as (sender, server):
        server.faults.append(at_chunk(2, "status", status=503, headers={"Retry-After": "120"}, times=9))
        with pytest.raises(DeliveryDelayedError) as delayed:
            send(open_destination(server), sender.consignment(ONE))
        assert delayed.value.retry_after_seconds == 120
        assert server.indexes().count(2) == 1


def test_413_leads_to_smaller_chunks_and_stays_known(tmp_path: Path) -> None:
    with sender_and_server(tmp_path, most_body_bytes=200_000) as (sender, server):
        destination = open_destination(server, chunk_bytes=0)
        send(destination, sender.consignment(ONE))
        assert stored(server) == ONE
        sizes = [call.content_bytes for call in server.calls if call.tool.endswith(APPEND)]
        assert max(sizes) == -(-(128 << 10) // 3) * 4
        refused = server.count("start")
        send(destination, sender.consignment(ONE, name="dog.safetensors"))
        assert server.count("start") == refused + 1


def test_413_in_the_one_call_leads_to_chunks(tmp_path: Path) -> None:
    with sender_and_server(tmp_path, most_body_bytes=300_000) as (sender, server):
        send(open_destination(server, direct_limit_bytes=1 << 30), sender.consignment(ONE))
        assert stored(server) == ONE
        assert server.count("upload-lora") == 0
        assert server.count("finish") == 1


def test_413_without_chunks_needs_a_person(tmp_path: Path) -> None:
    with (
        sender_and_server(tmp_path, "direct", most_body_bytes=300_000) as (sender, server),
        pytest.raises(DeliveryRefusedError) as refused,
    ):
        send(open_destination(server), sender.consignment(ONE))
    assert refused.value.code == "too-large"


def test_a_time_out_makes_the_chunks_of_the_next_attempt_smaller(tmp_path: Path) -> None:
    with sender_and_server(tmp_path) as (sender, server):
        destination = open_destination(server, read_timeout_seconds=0.2)
        server.faults.append(at_chunk(0, "slow", seconds=0.5, times=4))
        with pytest.raises(DestinationDownError) as late:
            send(destination, sender.consignment(ONE))
        assert late.value.code == "timeout"
        send(destination, sender.consignment(ONE))
        assert stored(server) == ONE
        assert server.indexes()[-1] == -(-len(ONE) // (CHUNK_BYTES // 2)) - 1


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_parks_the_destination_at_once(tmp_path: Path, status: int) -> None:
    with sender_and_server(tmp_path) as (sender, server):
        server.faults.append(at_chunk(2, "status", status=status, times=99))
        with pytest.raises(DestinationParkedError) as parked:
            send(open_destination(server), sender.consignment(ONE))
        assert parked.value.code == "not-authorized"
        assert server.indexes().count(2) == 1


@pytest.mark.parametrize(
    ("status", "code"), [(400, "wrong-parameters"), (422, "wrong-parameters"), (404, "tool-missing")]
)
def test_what_the_server_is_clear_about_is_permanent(tmp_path: Path, status: int, code: str) -> None:
    with sender_and_server(tmp_path) as (sender, server):
        server.faults.append(at_chunk(2, "status", status=status))
        with pytest.raises(DeliveryRefusedError) as refused:
            send(open_destination(server), sender.consignment(ONE))
        assert refused.value.code == code


SHAPES: dict[str, Fault] = {
    "success-false": Fault("", "answer", answer={"success": False, "result": None, "error": "out of luck"}),
    "result-error": Fault("", "answer", answer={"success": True, "result": {"error": "out of luck"}, "error": None}),
    "error": Fault("", "answer", answer={"error": "out of luck"}),
    "double-envelope": Fault(
        "",
        "answer",
        answer={"success": True, "result": {"success": False, "result": None, "error": "out of luck"}, "error": None},
    ),
    "status-error": Fault("", "answer", answer={"status": "error", "message": "out of luck"}),
    "is-error": Fault("", "answer", answer={"isError": True, "content": [{"type": "text", "text": "out of luck"}]}),
    "json-in-text": Fault(
        "",
        "answer",
        answer={
            "jsonrpc": "2.0",
            "id": 1,
            "result": {"content": [{"type": "text", "text": '{"error": "out of luck"}'}]},
        },
    ),
    "detail": Fault("", "answer", answer={"detail": "out of luck"}),
    "html": Fault("", "raw", body=b"<html><body>Sign in</body></html>", headers={"Content-Type": "text/html"}),
    "empty": Fault("", "raw", body=b""),
    "empty-object": Fault("", "answer", answer={}),
    "truncated": Fault("", "raw", body=b'{"success": true, "result": {"sta'),
    "words": Fault("", "raw", body=b"OK"),
    "null": Fault("", "answer", answer={"success": None, "result": None, "error": None}),
}  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
def test_200_with_an_error_is_an_error_in_every_shape(tmp_path: Path, shape: str) -> None:
    with sender_and_server(tmp_path) as (sender, server):
        server.faults.append(replace(SHAPES[shape], tool=APPEND, after=2 + PROBES, times=99))
        with pytest.raises(DeliveryDelayedError) as delayed:
            send(open_destination(server), sender.consignment(ONE))
        expected = "answer-unreadable" if SHAPES[shape].kind == "raw" else "answered-error"
        expected = "answer-unreadable" if shape in {"empty-object", "null"} else expected
        assert delayed.value.code == expected
        assert stored(server) is None
        assert "out of luck" in delayed.value.message or expected == "answer-unreadable"


def test_a_server_that_forgets_its_uploads_is_given_them_anew(tmp_path: Path) -> None:
    with sender_and_server(tmp_path) as (sender, server):
        server.faults.append(at_chunk(6, "forget"))
        send(open_destination(server), sender.consignment(ONE))
        assert stored(server) == ONE
        assert server.count("start") == 2


def test_a_server_that_forgets_every_upload_is_not_hammered(tmp_path: Path) -> None:
    with sender_and_server(tmp_path) as (sender, server):
        server.faults.append(at_chunk(0, "forget", times=10**6))
        with pytest.raises(DeliveryDelayedError) as delayed:
            send(open_destination(server), sender.consignment(ONE))
        assert delayed.value.code == "upload-lost"
        assert server.count("start") == 3


def test_a_server_restart_in_the_middle_is_survived(tmp_path: Path) -> None:
    with sender_and_server(tmp_path) as (sender, server):
        done: list[bool] = []

        def restart(sent_bytes: int) -> None:
            if sent_bytes >= 5 * CHUNK_BYTES and not done:
                done.append(True)
                server.restart()

        destination = open_destination(server)
        prepared = destination.prepare(sender.consignment(ONE), progress=restart, stop=threading.Event())
        assert isinstance(destination.publish([prepared])[0], RemoteFile)
        assert stored(server) == ONE


def test_a_lost_finish_is_looked_up_before_anything_is_sent_again(tmp_path: Path) -> None:
    with sender_and_server(tmp_path) as (sender, server):
        server.faults.append(Fault("finish", "reset-after"))
        send(open_destination(server), sender.consignment(ONE))
        assert (server.count("start"), server.count("finish")) == (1, 1)
        assert stored(server) == ONE


def test_a_finish_that_never_arrived_is_done_again(tmp_path: Path) -> None:
    with sender_and_server(tmp_path) as (sender, server):
        server.faults.append(Fault("finish", "reset-before"))
        send(open_destination(server), sender.consignment(ONE))
        assert stored(server) == ONE


@pytest.mark.parametrize(
    ("listing", "times_sent"), [(("size",), 2), (("size", "modified"), 1), (("size", "sha256"), 1)]
)
def test_after_a_lost_finish_an_equal_size_at_the_name_proves_nothing(
    tmp_path: Path, listing: tuple[str, ...], times_sent: int
) -> None:
    with sender_and_server(tmp_path, listing=listing) as (sender, server):
        destination = open_destination(server)
        first = send(destination, sender.consignment(ONE))
        before = server.count("start")
        server.faults.append(Fault("finish", "reset-after"))
        send(destination, sender.consignment(TWO, replaces=first))
        assert stored(server) == TWO
        assert server.count("start") - before == times_sent


def test_a_server_that_says_success_and_stores_nothing_fails_the_delivery(tmp_path: Path) -> None:
    with sender_and_server(tmp_path) as (sender, server):
        server.faults.append(Fault("finish", "lie", times=99))
        with pytest.raises(DeliveryRefusedError) as refused:
            send(open_destination(server), sender.consignment(ONE))
        assert refused.value.code == "not-listed"


@pytest.mark.parametrize("dialect", ["documented", "direct"])
def test_a_server_that_truncates_is_found_out_and_not_hammered(tmp_path: Path, dialect: str) -> None:
    with sender_and_server(tmp_path, dialect) as (sender, server):
        tool = "finish" if dialect == "documented" else "upload_lora"
        server.faults.append(Fault(tool, "truncate", times=99))
        with pytest.raises(DeliveryDelayedError) as delayed:
            send(open_destination(server), sender.consignment(ONE))
        assert delayed.value.code == "size-mismatch"
        assert server.count(tool) <= 5  # two of them found out whether the tool is there


def test_a_truncated_file_of_ours_is_replaced_later_not_kept_beside(tmp_path: Path) -> None:
    with sender_and_server(tmp_path) as (sender, server):
        memory = DictionaryMemory()
        server.faults.append(Fault("finish", "truncate", times=3))
        with pytest.raises(DeliveryDelayedError):
            send(open_destination(server, memory=memory), sender.consignment(ONE))
        again = open_destination(server, memory=memory)
        there = again.find(NAME)
        assert there is not None
        assert there.is_leftover
        send(again, sender.consignment(ONE, replaces=there))
        assert stored(server) == ONE


def test_an_upload_is_resumed_where_it_stood(tmp_path: Path) -> None:
    with sender_and_server(tmp_path, placement="append") as (sender, server):
        memory, diary = DictionaryMemory(), Diary()
        server.faults.append(at_chunk(7, "status", status=503, headers={"Retry-After": "60"}))
        consignment = replace(sender.consignment(ONE), waypoints=diary)
        with pytest.raises(DestinationError):
            send(open_destination(server, memory=memory), consignment)
        assert diary.resume
        again = replace(consignment, delivery=replace(consignment.delivery, resume=diary.resume))
        send(open_destination(server, memory=memory), again)
        assert stored(server) == ONE
        assert server.count("start") == 1
        assert diary.resumed_at == [7 * CHUNK_BYTES]
        assert server.indexes() == [*range(8), *range(7, -(-len(ONE) // CHUNK_BYTES))]


def test_an_upload_that_the_server_has_forgotten_is_not_resumed(tmp_path: Path) -> None:
    with sender_and_server(tmp_path) as (sender, server):
        memory, diary = DictionaryMemory(), Diary()
        server.faults.append(at_chunk(7, "status", status=503, headers={"Retry-After": "60"}))
        consignment = replace(sender.consignment(ONE), waypoints=diary)
        with pytest.raises(DestinationError):
            send(open_destination(server, memory=memory), consignment)
        server.uploads.clear()
        again = replace(consignment, delivery=replace(consignment.delivery, resume=diary.resume))
        send(open_destination(server, memory=memory), again)
        assert stored(server) == ONE
        assert diary.resumed_at == []


def test_a_source_that_changes_in_the_middle_of_the_upload_aborts_it(tmp_path: Path) -> None:
    with sender_and_server(tmp_path) as (sender, server):
        destination = open_destination(server)

        def rewrite(sent_bytes: int) -> None:
            if sent_bytes >= 4 * CHUNK_BYTES:
                sender.rewrite(TWO)

        with pytest.raises(FileChangedError):
            destination.prepare(sender.consignment(ONE), progress=rewrite, stop=threading.Event())
        assert server.count("finish") == 0
        assert len(server.indexes()) < 8


def test_a_file_that_appears_under_the_name_meanwhile_is_left_alone(tmp_path: Path) -> None:
    with sender_and_server(tmp_path) as (sender, server):
        destination = open_destination(server)
        prepared = destination.prepare(sender.consignment(ONE), progress=lambda _: None, stop=threading.Event())
        (server.directory / NAME).write_bytes(b"somebody's")
        assert isinstance(destination.publish([prepared])[0], NameTakenError)
        assert stored(server) == b"somebody's"


def test_a_redirect_to_another_host_is_refused_and_gets_no_token(tmp_path: Path) -> None:
    with sender_and_server(tmp_path) as (sender, server), McpServer(tmp_path / "other") as other:
        elsewhere = other.url.replace("127.0.0.1", "localhost")
        server.faults.append(at_chunk(1, "status", status=307, headers={"Location": f"{elsewhere}/mcp/tool"}))
        with pytest.raises(DestinationDownError) as down:
            send(open_destination(server, token="secret-token"), sender.consignment(ONE))
        assert down.value.code == "redirect-refused"
        assert "secret-token" not in down.value.message
        assert not other.calls
        assert {call.authorization for call in server.calls} == {"Bearer secret-token"}


def test_a_redirect_on_the_same_host_is_followed_with_the_body(tmp_path: Path) -> None:
    with sender_and_server(tmp_path) as (sender, server):
        server.faults.append(at_chunk(1, "status", status=307, headers={"Location": "/mcp/tool"}))
        send(open_destination(server), sender.consignment(ONE))
        assert stored(server) == ONE


def test_an_answer_without_end_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lorawatch.transport.http.MOST_ANSWER_BYTES", 100_000)
    with sender_and_server(tmp_path) as (sender, server):
        server.faults.append(at_chunk(1, "raw", body=b'{"a":"' + b"x" * 300_000 + b'"}'))
        with pytest.raises(DeliveryDelayedError) as delayed:
            send(open_destination(server), sender.consignment(ONE))
        assert delayed.value.code == "answer-unreadable"


def test_one_connection_carries_the_whole_upload(tmp_path: Path) -> None:
    with sender_and_server(tmp_path) as (sender, server):
        send(open_destination(server), sender.consignment(ONE))
        assert server.connections == 1


def test_the_dialect_is_remembered_and_found_anew_for_another_version(tmp_path: Path) -> None:
    with sender_and_server(tmp_path, version="1.0") as (sender, server):
        memory = DictionaryMemory()
        open_destination(server, memory=memory).probe(needed_bytes=0)
        server.pages.clear()
        open_destination(server, memory=memory).probe(needed_bytes=0)
        assert server.pages == ["/mcp/version"]
        server.version, server.dialect = "2.0", "direct"
        send(open_destination(server, memory=memory), sender.consignment(ONE))
        assert stored(server) == ONE


def test_the_dialect_is_found_anew_when_a_tool_is_gone(tmp_path: Path) -> None:
    with sender_and_server(tmp_path) as (sender, server):
        destination = open_destination(server)
        destination.probe(needed_bytes=0)
        server.dialect = "chunked"
        with pytest.raises(DestinationError):
            send(destination, sender.consignment(ONE))
        send(destination, sender.consignment(ONE))
        assert stored(server) == ONE


def test_a_server_without_any_upload_is_down_with_a_reason(tmp_path: Path) -> None:
    with sender_and_server(tmp_path) as (_, server), pytest.raises(DestinationDownError) as down:
        open_destination(server, api="jsonrpc").probe(needed_bytes=0)
    assert down.value.code == "tool-missing"


def test_a_server_that_does_not_run_is_down(tmp_path: Path) -> None:
    server = McpServer(tmp_path / "loras")
    with server:
        destination = open_destination(server)
    with pytest.raises(DestinationDownError) as down:
        destination.probe(needed_bytes=0)
    assert down.value.code == "connection-failed"


@pytest.mark.parametrize("told", [{"size": 3}, {"sha256": "ab" * 32}])
def test_a_finish_that_tells_another_size_or_hash_is_not_believed(tmp_path: Path, told: dict[str, object]) -> None:
    with sender_and_server(tmp_path) as (sender, server):
        server.faults.append(Fault("finish", "answer", answer={"success": True, "result": told, "error": None}))
        send(open_destination(server), sender.consignment(ONE))
        assert stored(server) == ONE
        assert server.count("start") == 2


def test_a_certificate_that_nobody_vouches_for_is_refused_unless_the_user_says_otherwise(tmp_path: Path) -> None:
    words = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1 -keyout key.pem -out cert.pem"
    subprocess.run(["openssl", *words.split()], cwd=tmp_path, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    with sender_and_server(tmp_path, tls=context) as (sender, server):
        with pytest.raises(DestinationDownError) as down:
            open_destination(server).probe(needed_bytes=0)
        assert down.value.code == "connection-failed"
        assert "verify_tls" in down.value.fix
        send(open_destination(server, verify_tls=False), sender.consignment(ONE))
        assert stored(server) == ONE
