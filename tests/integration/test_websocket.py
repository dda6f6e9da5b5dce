"""Listening to a WebSocket, against a real socket: what servers send, in pieces or not, and what is none of it."""

import contextlib
import socket
import threading
from collections.abc import Callable

import pytest

from lorawatch.comfyui.steps import Step, StepListener, step_in
from lorawatch.transport.calls import CallError, Failure
from lorawatch.transport.websocket import MOST_TEXT_BYTES, WebSocket
from tests.fakes.port import Port
from tests.fakes.websocket import BINARY, CLOSE, PING, TEXT, accepted, frame

CONTINUATION = 0x0
Talk = Callable[[socket.socket, str], None]


class Server:
    """Accepts one connection and has `talk` answer it, given the key of the handshake."""

    def __init__(self, talk: Talk) -> None:
        self._talk = talk
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.received = b""
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        connection, _ = self._listener.accept()
        with connection:
            head = b""
            while b"\r\n\r\n" not in head:
                head += connection.recv(65536)
            key = head.decode().partition("Sec-WebSocket-Key: ")[2].partition("\r\n")[0]
            with contextlib.suppress(OSError):  # whoever listens may have gone in the middle of it
                self._talk(connection, key)
                connection.shutdown(socket.SHUT_WR)
                while more := connection.recv(65536):
                    self.received += more

    def end(self) -> None:
        self._thread.join(10)
        self._listener.close()


def texts_of(*frames: bytes, at_once: bytes = b"") -> tuple[list[str], bytes]:
    """Return the texts that are heard, and what the server was told."""

    def talk(connection: socket.socket, key: str) -> None:
        connection.sendall(accepted(key) + at_once)
        for each in frames:
            connection.sendall(each)

    server = Server(talk)
    try:
        with WebSocket(f"{server.url}/ws?clientId=x", timeout_seconds=5) as listening:
            heard = list(listening.texts())
    finally:
        server.end()
    return heard, server.received


def test_texts_are_heard_in_order_until_the_server_ends() -> None:
    assert texts_of(frame(TEXT, b"one"), frame(TEXT, "zw\u00f6lf".encode()))[0] == ["one", "zw\u00f6lf"]


def test_what_follows_the_handshake_at_once_is_not_lost() -> None:
    assert texts_of(frame(TEXT, b"two"), at_once=frame(TEXT, b"one"))[0] == ["one", "two"]


def test_a_text_in_pieces_is_put_together_around_a_ping() -> None:
    pieces = frame(TEXT, b"on", is_final=False), frame(PING, b"?"), frame(CONTINUATION, b"e")
    heard, told = texts_of(*pieces)
    assert heard == ["one"]
    assert told == b"\x8a\x81\x00\x00\x00\x00?"  # a masked pong with what the ping held


def test_long_texts_are_heard_and_pictures_are_passed_over() -> None:
    long = b"x" * 70_000
    frames = frame(BINARY, bytes(300_000)), frame(TEXT, long), frame(BINARY, b"y" * 200), frame(TEXT, b"z" * 200)
    assert [len(text) for text in texts_of(*frames)[0]] == [70_000, 200]


def test_nothing_is_heard_after_a_close() -> None:
    assert texts_of(frame(CLOSE, b"\x03\xe8"), frame(TEXT, b"late"))[0] == []


def test_a_text_without_end_is_refused() -> None:
    with pytest.raises(CallError) as raised:
        texts_of(frame(TEXT, bytes(MOST_TEXT_BYTES + 1)))
    assert raised.value.failure is Failure.UNREADABLE


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: wrong\r\n\r\n",
        b"",
        b"x" * 100_000,
    ],
)
def test_what_speaks_no_websocket_is_refused(answer: bytes) -> None:
    server = Server(lambda connection, _: connection.sendall(answer))
    with pytest.raises(CallError):
        WebSocket(f"{server.url}/ws", timeout_seconds=5)
    server.end()


def test_a_closed_port_is_refused() -> None:
    with contextlib.closing(Port()) as port, pytest.raises(CallError) as raised:
        WebSocket(f"http://127.0.0.1:{port.number}/ws", timeout_seconds=5)
    assert raised.value.failure is Failure.NOT_CONNECTED


def test_closing_ends_a_wait_that_nothing_else_ends() -> None:
    released = threading.Event()

    def talk(connection: socket.socket, key: str) -> None:
        connection.sendall(accepted(key))
        released.wait(10)

    server = Server(talk)
    listening = WebSocket(f"{server.url}/ws", timeout_seconds=5)
    waiting = threading.Thread(target=lambda: list(listening.texts()))
    waiting.start()
    listening.close()
    waiting.join(10)
    assert not waiting.is_alive()
    released.set()
    server.end()


def test_steps_are_unknown_where_there_is_no_websocket() -> None:
    with StepListener("http://127.0.0.1:9") as steps:
        assert steps.latest is None


@pytest.mark.parametrize(
    ("text", "step"),
    [
        ('{"type": "progress", "data": {"value": 3, "max": 20, "node": "9", "prompt_id": "p"}}', Step("9", 3, 20)),
        ('{"type": "executing", "data": {"node": "9", "prompt_id": "p"}}', Step("9")),
        ('{"type": "executing", "data": {"node": null, "prompt_id": "p"}}', None),
        ('{"type": "status", "data": {"status": {"exec_info": {"queue_remaining": 1}}}}', None),
        ('{"type": "progress", "data": {"value": null, "max": 20, "node": "9"}}', None),
        ('{"type": "progress"}', None),
        ("[1]", None),
        ("nonsense", None),
    ],
)
def test_a_message_tells_of_a_step_or_of_nothing(text: str, step: Step | None) -> None:
    assert step_in(text) == step
