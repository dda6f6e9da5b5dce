"""Events on real files, pipes and processes: logrotate, full disks, readers that leave."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lorawatch import events
from lorawatch.events import Event, emit

SCRIPT = """
import os, sys
from lorawatch.events import Event, configure, emit
emit(Event.DAEMON_STARTING)
configure(format="auto", level="info", environ=os.environ)
print("configured", file=sys.stderr, flush=True)
sys.stdin.readline()
for number in range(int(sys.argv[1])):
    emit(Event.DELIVERY_PROGRESS, delivery_id=number, file=os.fsdecode(b"/out/\\xff.safetensors"))
    sys.stdin.readline()
print("done", file=sys.stderr, flush=True)
"""


@pytest.fixture
def stdout() -> Iterator[io.StringIO]:
    yield io.StringIO()
    events.configure(format="json", level="error", environ={}, stream=io.StringIO())


def log_to(path: Path, stdout: io.StringIO) -> None:
    events.configure(format="json", level="info", environ={}, file=str(path), stream=stdout)


def events_in(path: Path) -> list[str]:
    return [json.loads(line)["event"] for line in path.read_text(encoding="utf-8").splitlines()]


def spawned(count: int, **environ: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(count)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": "", **environ},
    )


def test_the_file_gets_what_stdout_gets(tmp_path: Path, stdout: io.StringIO) -> None:
    log = tmp_path / "lorawatch.log"
    log_to(log, stdout)
    emit(Event.FILE_DETECTED, file="/out/猫\udcff.safetensors")
    emit(Event.SCAN_FINISHED, level="debug")
    assert log.read_text(encoding="utf-8") == stdout.getvalue()
    assert events_in(log) == ["file.detected"]


def test_what_was_in_the_file_stays(tmp_path: Path, stdout: io.StringIO) -> None:
    log = tmp_path / "lorawatch.log"
    log.write_text('{"event": "before"}\n')
    log_to(log, stdout)
    emit(Event.DAEMON_READY)
    log_to(log, stdout)
    emit(Event.DAEMON_STOPPED)
    assert events_in(log) == ["before", "daemon.ready", "daemon.stopped"]


@pytest.mark.parametrize("is_created", [True, False])
def test_a_rotated_file_is_left_and_the_new_one_taken(tmp_path: Path, stdout: io.StringIO, is_created: bool) -> None:
    log, old = tmp_path / "lorawatch.log", tmp_path / "lorawatch.log.1"
    log_to(log, stdout)
    emit(Event.DAEMON_STARTING)
    log.rename(old)
    if is_created:
        log.touch()
    emit(Event.DAEMON_READY)
    emit(Event.DAEMON_STOPPED)
    assert events_in(old) == ["daemon.starting"]
    assert events_in(log) == ["daemon.ready", "daemon.stopped"]


def test_a_truncated_file_is_gone_on_with_from_its_start(tmp_path: Path, stdout: io.StringIO) -> None:
    log = tmp_path / "lorawatch.log"
    log_to(log, stdout)
    emit(Event.DAEMON_STARTING)
    os.truncate(log, 0)
    emit(Event.DAEMON_READY)
    assert events_in(log) == ["daemon.ready"]


def test_a_file_that_cannot_be_opened_is_told_once_each_time_it_begins(tmp_path: Path, stdout: io.StringIO) -> None:
    log = tmp_path / "missing" / "lorawatch.log"
    log_to(log, stdout)
    emit(Event.DAEMON_STARTING)
    emit(Event.DAEMON_READY)
    log.parent.mkdir()
    emit(Event.FILE_DETECTED)
    log.unlink()
    log.parent.rmdir()
    emit(Event.DAEMON_STOPPING)
    emit(Event.DAEMON_STOPPED)
    told = [json.loads(line) for line in stdout.getvalue().splitlines()]
    assert [line["event"] for line in told] == [
        "daemon.starting",
        "daemon.degraded",
        "daemon.ready",
        "file.detected",
        "daemon.stopping",
        "daemon.degraded",
        "daemon.stopped",
    ]
    assert told[1]["code"] == "log-file-unusable"
    assert str(log) in told[1]["reason"]


def test_a_pipe_without_a_reader_does_not_hold_up_the_work(tmp_path: Path, stdout: io.StringIO) -> None:
    os.mkfifo(tmp_path / "fifo")
    log_to(tmp_path / "fifo", stdout)
    emit(Event.DAEMON_READY)
    assert "log-file-unusable" in stdout.getvalue()


def test_a_full_disk_cuts_no_line_in_two(tmp_path: Path, stdout: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "lorawatch.log"
    log_to(log, stdout)
    emit(Event.DAEMON_STARTING)
    write, room = os.write, 30

    def write_until_full(descriptor: int, data: bytes) -> int:
        nonlocal room
        if room == 0:
            raise OSError(28, "No space left on device")
        written = write(descriptor, data[:room])
        room -= written
        return written

    monkeypatch.setattr(os, "write", write_until_full)
    emit(Event.DAEMON_READY)
    emit(Event.FILE_DETECTED)
    room = 10_000
    emit(Event.DAEMON_STOPPED)
    assert stdout.getvalue().count("log-file-unusable") == 1
    first, torn, last = log.read_text().splitlines()
    assert json.loads(first)["event"] == "daemon.starting"
    assert len(torn) == 30
    assert json.loads(last)["event"] == "daemon.stopped"


def test_each_line_is_there_as_soon_as_it_was_emitted_and_none_before_configure() -> None:
    with spawned(2) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for number in range(2):
            process.stdin.write(b"\n")
            process.stdin.flush()
            line: dict[str, Any] = json.loads(process.stdout.readline())
            assert (line["delivery_id"], line["file"]) == (number, "/out/\\xff.safetensors")
        process.communicate(b"\n\n", timeout=30)
    assert process.returncode == 0


def test_a_reader_that_leaves_does_not_stop_the_daemon() -> None:
    with spawned(50) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stderr.readline() == b"configured\n"
        process.stdout.close()
        process.stdin.write(b"\n" * 60)
        process.stdin.flush()
        assert process.stderr.read() == b"done\n"
    assert process.returncode == 0


def test_json_is_valid_utf8_in_the_c_locale() -> None:
    with spawned(1, LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0") as process:
        output, _ = process.communicate(b"\n\n", timeout=30)
    assert json.loads(output.decode("utf-8"))["event"] == "delivery.progress"
