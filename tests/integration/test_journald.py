"""Entries of the systemd journal, received on a real socket by the rules of its protocol."""

import array
import io
import json
import os
import socket
import struct
import sys
import threading
import time
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

from lorawatch import events, journald
from lorawatch.events import Event, emit


class Receiver:
    """The journal's side of the native protocol: https://systemd.io/JOURNAL_NATIVE_PROTOCOL/."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.files_received = 0
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.path)
        self._socket.settimeout(5)

    def entry(self) -> dict[str, list[bytes]]:
        data, ancillary, _flags, _address = self._socket.recvmsg(1 << 20, socket.CMSG_SPACE(4))
        for level, kind, payload in ancillary:
            assert (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS)
            (descriptor,) = array.array("i", payload)
            assert data == b""
            data = self._sealed(descriptor)
        return self._fields(data)

    def _sealed(self, descriptor: int) -> bytes:
        self.files_received += 1
        with os.fdopen(descriptor, "r+b", buffering=0) as file:
            with pytest.raises(PermissionError):
                file.write(b"x")
            with pytest.raises(PermissionError):
                os.ftruncate(descriptor, 0)
            file.seek(0)
            return file.read()

    @staticmethod
    def _fields(data: bytes) -> dict[str, list[bytes]]:
        fields: dict[str, list[bytes]] = {}
        while data:
            line, _, data = data.partition(b"\n")
            key, is_simple, value = line.partition(b"=")
            if not is_simple:
                (length,) = struct.unpack("<Q", data[:8])
                value, end, data = data[8 : 8 + length], data[8 + length : 9 + length], data[9 + length :]
                assert end == b"\n"
            fields.setdefault(key.decode("ascii"), []).append(value)
        return fields

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    receiver = Receiver(tmp_path / "socket")
    yield receiver
    receiver.close()


@pytest.fixture
def stdout(receiver: Receiver) -> Iterator[io.StringIO]:
    stdout = io.StringIO()
    events.configure(format="journal", level="debug", environ={}, stream=stdout, journal_socket=receiver.path)
    yield stdout
    events.configure(format="json", level="error", environ={}, stream=io.StringIO())


def test_an_event_is_an_entry_that_journalctl_can_be_asked_for(receiver: Receiver, stdout: io.StringIO) -> None:
    line = sys._getframe().f_lineno + 1
    emit(Event.DELIVERY_FAILED, file="/out/cat.safetensors", destination="comfyui", sha256="ab", code="name-taken")
    entry = receiver.entry()
    (message,) = entry.pop("MESSAGE")
    assert message.decode().startswith("failed cat.safetensors → comfyui: name-taken. To do: ")
    assert entry == {
        "PRIORITY": [b"3"],
        "SYSLOG_IDENTIFIER": [b"lorawatch"],
        "LORAWATCH_EVENT": [b"delivery.failed"],
        "LORAWATCH_FILE": [b"/out/cat.safetensors"],
        "LORAWATCH_DESTINATION": [b"comfyui"],
        "LORAWATCH_SHA256": [b"ab"],
        "LORAWATCH_CODE": [b"name-taken"],
        "CODE_FILE": [__file__.encode()],
        "CODE_LINE": [str(line).encode()],
        "CODE_FUNC": [b"test_an_event_is_an_entry_that_journalctl_can_be_asked_for"],
    }
    assert stdout.getvalue() == ""


def test_values_of_every_kind_have_a_field(receiver: Receiver, stdout: io.StringIO) -> None:
    emit(
        Event.FILE_ACCEPTED,
        file="/out/a\udcff\nPRIORITY=0",
        family=None,
        rank=16,
        replaced=True,
        seconds=0.5,
        trigger_words=("p1x", "猫"),
        findings=[{"code": "zero-effect"}],
    )
    entry = receiver.entry()
    assert entry["LORAWATCH_FILE"] == [b"/out/a\\xff\nPRIORITY=0"]
    assert entry["PRIORITY"] == [b"6"]
    assert "LORAWATCH_FAMILY" not in entry
    assert entry["LORAWATCH_RANK"] == [b"16"]
    assert entry["LORAWATCH_REPLACED"] == [b"true"]
    assert entry["LORAWATCH_SECONDS"] == [b"0.5"]
    assert entry["LORAWATCH_TRIGGER_WORDS"] == [b"p1x", "猫".encode()]
    assert entry["LORAWATCH_FINDINGS"] == [b'{"code": "zero-effect"}']
    assert b"\n" not in entry["MESSAGE"][0]


@pytest.mark.parametrize(("level", "priority"), [("debug", 7), ("info", 6), ("warning", 4), ("error", 3)])
def test_levels_are_syslog_priorities(receiver: Receiver, stdout: io.StringIO, level: str, priority: int) -> None:
    emit(Event.SCAN_FINISHED, level=level)
    assert receiver.entry()["PRIORITY"] == [str(priority).encode()]


def test_what_no_datagram_can_hold_arrives_in_a_sealed_file(receiver: Receiver, stdout: io.StringIO) -> None:
    traceback = "frame\n" * 300_000
    emit(Event.LANE_CRASHED, destination="comfyui", traceback=traceback)
    emit(Event.DESTINATION_UP, destination="comfyui")
    assert receiver.entry()["LORAWATCH_TRACEBACK"] == [traceback.encode()]
    assert receiver.files_received == 1
    assert receiver.entry()["LORAWATCH_EVENT"] == [b"destination.up"]
    assert receiver.files_received == 1


def test_without_the_journal_lines_with_a_priority_go_to_stdout(receiver: Receiver, stdout: io.StringIO) -> None:
    Path(receiver.path).unlink()
    emit(Event.DELIVERY_FAILED, file="/out/猫\udcff", reason="a\nb")
    (line,) = stdout.getvalue().splitlines()
    assert line.startswith("<3>{")
    assert json.loads(line[3:])["file"] == "/out/猫\\xff"


def test_a_journal_that_restarts_is_found_again(receiver: Receiver, stdout: io.StringIO, tmp_path: Path) -> None:
    emit(Event.DAEMON_READY)
    assert receiver.entry()["LORAWATCH_EVENT"] == [b"daemon.ready"]
    Path(receiver.path).unlink()
    emit(Event.DAEMON_STOPPING)
    fresh = Receiver(tmp_path / "socket")
    emit(Event.DAEMON_STOPPED)
    assert fresh.entry()["LORAWATCH_EVENT"] == [b"daemon.stopped"]
    fresh.close()
    assert "daemon.stopping" in stdout.getvalue()


def test_a_journal_that_hangs_costs_no_event(
    receiver: Receiver, stdout: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journald, "TIMEOUT_SECONDS", 0.05)
    events.configure(format="journal", level="debug", environ={}, stream=stdout, journal_socket=receiver.path)
    emitted = 0
    started = time.monotonic()
    while not stdout.getvalue() and time.monotonic() - started < 30:
        emit(Event.DELIVERY_PROGRESS, delivery_id=emitted, padding="x" * 10_000)
        emitted += 1
    taken = [int(receiver.entry()["LORAWATCH_DELIVERY_ID"][0]) for _ in range(emitted - 1)]
    assert taken == list(range(emitted - 1))
    assert json.loads(stdout.getvalue()[3:])["delivery_id"] == emitted - 1


def test_many_threads_share_the_way(receiver: Receiver, stdout: io.StringIO) -> None:
    def talk() -> None:
        for number in range(50):
            emit(Event.DELIVERY_PROGRESS, delivery_id=number)

    threads = [threading.Thread(target=talk) for _ in range(4)]
    for thread in threads:
        thread.start()
    received = [receiver.entry()["LORAWATCH_DELIVERY_ID"][0] for _ in range(200)]
    for thread in threads:
        thread.join()
    assert sorted(received, key=int) == sorted((str(each % 50).encode() for each in range(200)), key=int)


def test_auto_means_the_journal_where_systemd_connected_stdout_to_it(receiver: Receiver, tmp_path: Path) -> None:
    with open(tmp_path / "stdout", "w+", encoding="utf-8") as stdout:
        status = os.fstat(stdout.fileno())
        for journal_stream in (f"{status.st_dev}:{status.st_ino}", f"{status.st_dev}:{status.st_ino + 1}"):
            events.configure(
                format="auto",
                level="info",
                environ={"JOURNAL_STREAM": journal_stream},
                stream=stdout,
                journal_socket=receiver.path,
            )
            emit(Event.DAEMON_READY)
        events.configure(format="json", level="error", environ={}, stream=io.StringIO())
    assert receiver.entry()["LORAWATCH_EVENT"] == [b"daemon.ready"]
    lines = (tmp_path / "stdout").read_text().splitlines()
    assert [json.loads(line)["event"] for line in lines] == ["daemon.ready"]


def test_systemd_python_is_used_where_it_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[str, ...]] = []
    module = types.ModuleType("systemd.journal")
    module.sendv = lambda *fields: sent.append(fields)  # type: ignore[attr-defined]  # a module made for this test
    monkeypatch.setitem(sys.modules, "systemd.journal", module)
    monkeypatch.setattr(journald, "SOCKET", str(tmp_path / "socket"))
    journal = journald.Journal(journald.SOCKET)
    fields = [("MESSAGE", "a\nb"), ("LORAWATCH_TRIGGER_WORDS", "p1x"), ("LORAWATCH_TRIGGER_WORDS", "猫")]
    with pytest.raises(FileNotFoundError):  # libsystemd would say success and drop the entry
        journal.send(fields)
    (tmp_path / "socket").touch()
    journal.send(fields)
    assert sent == [("MESSAGE=a\nb", "LORAWATCH_TRIGGER_WORDS=p1x", "LORAWATCH_TRIGGER_WORDS=猫")]
    journal.close()
