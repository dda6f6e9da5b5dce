"""What a server, or a line, can do to one HTTP call: real sockets, and answers that no honest server gives."""

import gzip
import os
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from lorawatch.domain.errors import StoppedError
from lorawatch.transport.answers import payload_of
from lorawatch.transport.calls import CallError, Failure
from lorawatch.transport.http import HttpClient, HttpSettings
from tests.fakes.raw_server import RawServer, Request, answer, read_request

TOKEN = "s3cret-t0ken"
DONE = b'{"success": true}'


def client_of(url: str, *, read_timeout_seconds: float = 0.4, connect_timeout_seconds: float = 2) -> HttpClient:
    return HttpClient(
        HttpSettings(
            url,
            token=TOKEN,
            connect_timeout_seconds=connect_timeout_seconds,
            read_timeout_seconds=read_timeout_seconds,
        )
    )


def failure_of_call(client: HttpClient, *, is_repeatable: bool = False) -> CallError:
    with pytest.raises(CallError) as error:
        payload_of(client.post("/mcp/tool", b"{}", is_repeatable=is_repeatable))
    return error.value


def dripping(server: Callable[[], RawServer], first: bytes, drop: bytes) -> Callable[[socket.socket], None]:
    """Answer with `first`, then with a drop every 20 ms until the server is over: each one in time, and no end."""

    def serve(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(first)
        while not server().is_over.wait(0.02):
            connection.sendall(drop)

    return serve


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    ("first", "drop"),
    [
        (b"HTTP/1.1 200 OK\r\nX-Slow: ", b"x"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", b" "),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;", b"x"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (b"HTTP/1.1 200 OK\r\n\r\n", b" "),
    ],
    ids=["header", "body", "chunks", "chunk-extension", "continue", "until-close"],
)
def test_an_answer_that_drips_is_given_up(first: bytes, drop: bytes) -> None:
    with RawServer(dripping(lambda: server, first, drop)) as server:
        assert failure_of_call(client_of(server.url)).failure is Failure.TIMED_OUT


@pytest.mark.timeout(20)
def test_a_download_that_drips_is_given_up() -> None:
    first = b'HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n{"data":"'
    with RawServer(dripping(lambda: server, first, b"A")) as server, pytest.raises(CallError) as error:
        client_of(server.url).download("/mcp/tool", b"{}", len)
    assert error.value.failure is Failure.TIMED_OUT


@pytest.mark.timeout(20)
def test_an_answer_that_is_slow_but_steady_is_taken() -> None:
    def serve(connection: socket.socket) -> None:
        read_request(connection)
        body = b'{"success": true, "pad": "' + b"x" * (256 << 10) + b'"}'
        head, rest = answer(body)[:200], answer(body)[200:]
        connection.sendall(head)
        for start in range(0, len(rest), 16 << 10):  # 0.9 s in all: longer than the time-out, at 300 KiB/s
            server.is_over.wait(0.05)
            connection.sendall(rest[start : start + (16 << 10)])

    with RawServer(serve) as server:
        assert payload_of(client_of(server.url).post("/mcp/tool", b"{}", is_repeatable=False))["success"] is True


@pytest.mark.timeout(60)
@pytest.mark.parametrize("is_compressed", [False, True])
def test_an_answer_without_end_is_cut_off(is_compressed: bool) -> None:
    bomb = gzip.compress(b" " * (64 << 20))

    def serve(connection: socket.socket) -> None:
        read_request(connection)
        if is_compressed:
            connection.sendall(answer(bomb, headers="Content-Encoding: gzip\r\n"))
            return
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while not server.is_over.is_set():
            connection.sendall(b" " * (1 << 20))

    with RawServer(serve) as server:
        error = failure_of_call(client_of(server.url, read_timeout_seconds=20))
    assert error.failure is Failure.UNREADABLE


@pytest.mark.timeout(20)
def test_a_server_that_does_not_read_is_late_not_lost() -> None:
    def serve(connection: socket.socket) -> None:
        server.is_over.wait()

    with RawServer(serve) as server:
        client = client_of(server.url, connect_timeout_seconds=0.3)
        with pytest.raises(CallError) as error:
            client.post("/mcp/tool", b"x" * (64 << 20), is_repeatable=False)
    assert error.value.failure is Failure.TIMED_OUT


@pytest.mark.timeout(20)
def test_a_server_that_takes_every_second_is_not_asked_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The short loop bridges seconds. A call that has taken its whole time already is the delivery's to repeat."""
    monkeypatch.setattr("lorawatch.transport.repeating.LONGEST_LOOP_SECONDS", 0.3)
    calls: list[Request] = []

    def serve(connection: socket.socket) -> None:
        calls.append(read_request(connection))
        server.is_over.wait()

    with RawServer(serve) as server:
        assert failure_of_call(client_of(server.url), is_repeatable=True).failure is Failure.TIMED_OUT
    assert len(calls) == 1


@pytest.mark.parametrize("told", [f"no {TOKEN} here", f"Bearer {TOKEN}", f"{'x' * 295}{TOKEN}"])
def test_what_a_server_repeats_of_our_token_is_not_shown(told: str) -> None:
    def serve(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(answer(b'{"error": "' + told.encode() + b'"}'))

    with RawServer(serve) as server:
        message = failure_of_call(client_of(server.url)).message
    assert TOKEN not in message
    assert TOKEN[:5] not in message


@pytest.mark.parametrize("location", [f"http://{TOKEN}.example/", f"/again?token={TOKEN}", f"http://{TOKEN}@box/"])
def test_a_redirect_does_not_show_the_token_either(location: str) -> None:
    def serve(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(answer(b"", status="307 Temporary Redirect", headers=f"Location: {location}\r\n"))

    with RawServer(serve) as server:
        assert TOKEN not in failure_of_call(client_of(server.url)).message


def test_what_a_server_says_cannot_break_a_terminal_or_a_journal() -> None:
    def serve(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(answer(b'{"error": "\\ud800 \\u001b[2J \\u0000 caf\\u00e9"}'))

    with RawServer(serve) as server:
        message = failure_of_call(client_of(server.url)).message
    message.encode()
    assert message.isprintable()
    assert "café" in message


def test_redirects_to_ever_new_addresses_are_not_collected() -> None:
    count = iter(range(10**6))

    def serve(connection: socket.socket) -> None:
        while True:
            if "/mcp/tool" in read_request(connection).line:
                headers = f"Location: /other/{next(count)}\r\n"
                connection.sendall(answer(b"", status="307 Temporary Redirect", headers=headers))
            else:
                connection.sendall(answer(DONE))

    with RawServer(serve) as server:
        client = client_of(server.url)
        for _ in range(50):
            payload_of(client.post("/mcp/tool", b"{}", is_repeatable=False))
        assert len(client._requests) == 1


@pytest.mark.parametrize("length", [3, 10_000])
def test_an_answer_of_another_length_than_announced_is_an_error(length: int) -> None:
    def serve(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(answer(DONE, length=length))

    with RawServer(serve) as server:
        assert failure_of_call(client_of(server.url)).failure in {Failure.UNREADABLE, Failure.LOST}


@pytest.mark.parametrize("raw", [b"", b"\x00\xff" * 400, b"SSH-2.0-OpenSSH_9.2\r\n", b"HTTP/1.1 abc\r\n\r\n"])
def test_what_is_no_http_is_a_connection_that_broke(raw: bytes) -> None:
    def serve(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(raw)

    with RawServer(serve) as server:
        assert failure_of_call(client_of(server.url)).failure is Failure.LOST


def certificate(directory: Path) -> ssl.SSLContext:
    words = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1"
    files = "-keyout key.pem -out cert.pem"
    subprocess.run(["openssl", *words.split(), *files.split()], cwd=directory, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "cert.pem", directory / "key.pem")
    return context


@pytest.mark.parametrize("name", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_a_certificate_of_ones_own_is_believed_where_the_environment_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def serve(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(answer(DONE))

    for each in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(each, raising=False)
    with RawServer(serve, tls=certificate(tmp_path)) as server:
        assert failure_of_call(client_of(server.url)).failure is Failure.NOT_CONNECTED
        monkeypatch.setenv(name, str(tmp_path / "cert.pem"))
        assert payload_of(client_of(server.url).post("/mcp/tool", b"{}", is_repeatable=False))["success"] is True


def test_tls_that_breaks_after_the_request_may_have_been_carried_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Request] = []

    def serve(connection: socket.socket) -> None:
        calls.append(read_request(connection))
        os.close(connection.detach())  # as when the server's process dies: TLS is not ended in order

    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "cert.pem"))
    with RawServer(serve, tls=certificate(tmp_path)) as server:
        assert failure_of_call(client_of(server.url)).failure is Failure.LOST
    assert len(calls) == 1


def test_a_proxy_of_the_environment_is_used_and_no_proxy_is_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []

    def serve(connection: socket.socket) -> None:
        lines.append(read_request(connection).line)
        connection.sendall(answer(DONE))

    with RawServer(serve) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("http_proxy", proxy.url)
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        payload_of(client_of("http://render.example:8189").post("/mcp/tool", b"{}", is_repeatable=False))
        assert lines == ["POST http://render.example:8189/mcp/tool HTTP/1.1"]
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        payload_of(client_of(proxy.url).post("/mcp/tool", b"{}", is_repeatable=False))
        assert lines[1] == "POST /mcp/tool HTTP/1.1"


@pytest.mark.timeout(20)
def test_an_answer_through_a_proxy_may_not_drip_either(monkeypatch: pytest.MonkeyPatch) -> None:
    with RawServer(dripping(lambda: proxy, b"HTTP/1.1 200 OK\r\nX-Slow: ", b"x")) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        assert failure_of_call(client_of("http://render.example:8189")).failure is Failure.TIMED_OUT


@pytest.mark.parametrize("prefix", ["", "/comfy", "/a/b"])
def test_an_address_may_be_ipv6_and_have_a_path(prefix: str) -> None:
    lines: list[str] = []

    def serve(connection: socket.socket) -> None:
        lines.append(read_request(connection).line)
        connection.sendall(answer(DONE))

    with RawServer(serve, host="::1") as server:
        payload_of(client_of(server.url + prefix).post("/mcp/tool", b"{}", is_repeatable=False))
    assert lines == [f"POST {prefix}/mcp/tool HTTP/1.1"]


def test_a_stop_ends_the_pause_between_two_tries() -> None:
    stop = threading.Event()

    def serve(connection: socket.socket) -> None:
        read_request(connection)
        stop.set()
        connection.sendall(answer(b"{}", status="503 Service Unavailable", headers="Retry-After: 4\r\n"))

    with RawServer(serve) as server, pytest.raises(StoppedError):
        client_of(server.url).post("/mcp/tool", b"{}", is_repeatable=False, stop=stop)
