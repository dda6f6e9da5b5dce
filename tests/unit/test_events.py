"""What is emitted comes out: as JSON that any parser takes, as a line for a person, at the level that was asked for."""

import datetime as dt
import io
import json
import math
import select
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lorawatch import events
from lorawatch.domain.model import Finding
from lorawatch.event_names import LEVELS
from lorawatch.events import Event, emit

ANY_TEXT = st.text(st.characters())  # with surrogates, which file names may have
ANY_VALUE = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64) | st.floats() | ANY_TEXT | st.binary(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=3) | st.tuples(inner),
    max_leaves=6,
)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Latin1(io.TextIOWrapper):
    def __init__(self) -> None:
        super().__init__(io.BytesIO(), encoding="latin-1")

    def text(self) -> str:
        self.flush()
        self.seek(0)
        return self.read()


@pytest.fixture(autouse=True)
def _silent_afterwards() -> Iterator[None]:
    yield
    events.configure(format="json", level="error", environ={}, stream=io.StringIO())


@pytest.fixture
def stream() -> io.StringIO:
    stream = io.StringIO()
    events.configure(format="json", level="debug", environ={}, stream=stream)
    return stream


def parsed(stream: io.StringIO) -> list[dict[str, Any]]:
    return [strictly(line) for line in stream.getvalue().splitlines()]


def strictly(line: str) -> dict[str, Any]:
    """Parse as strictly as the strictest reader: UTF-8, no NaN, no lone surrogates."""

    def refuse(constant: str) -> None:
        raise ValueError(constant)

    document = json.loads(line.encode("utf-8"), parse_constant=refuse)
    json.dumps(document, ensure_ascii=False).encode("utf-8")
    assert isinstance(document, dict)
    return document


def test_an_event_is_one_json_line_with_time_level_and_name_before_its_data(stream: io.StringIO) -> None:
    before = dt.datetime.now(dt.UTC)
    emit(Event.FILE_ACCEPTED, file="/out/cat.safetensors", family=None, rank=16)
    after = dt.datetime.now(dt.UTC)
    assert stream.getvalue().count("\n") == 1
    (line,) = parsed(stream)
    assert list(line) == ["timestamp", "level", "event", "file", "family", "rank"]
    assert (line["level"], line["event"], line["family"], line["rank"]) == ("info", "file.accepted", None, 16)
    assert len(line["timestamp"]) == len("2026-01-01T00:00:00.000Z")
    assert line["timestamp"].endswith("Z")
    moment = dt.datetime.fromisoformat(line["timestamp"])
    assert before - dt.timedelta(milliseconds=1) <= moment <= after


def test_an_undecodable_byte_of_a_file_name_is_shown_as_an_escape(stream: io.StringIO) -> None:
    emit(Event.FILE_DETECTED, file="/out/caf\udce9 猫.safetensors")
    assert parsed(stream)[0]["file"] == "/out/caf\\xe9 猫.safetensors"
    assert "猫" in stream.getvalue()


def test_every_kind_of_value_becomes_plain_json(stream: io.StringIO) -> None:
    class Colour(StrEnum):
        RED = "red"

    class Rank(IntEnum):
        LOW = 4

    @dataclass(frozen=True, slots=True)
    class Point:
        x: float

    emit(
        Event.FILE_ACCEPTED,
        seconds=0.123456,
        never=math.inf,
        unknown=math.nan,
        colour=Colour.RED,
        rank=Rank.LOW,
        words=("a", "b"),
        names=frozenset({"z", "y"}),
        raw=b"\xff!",
        findings=[Finding("zero-effect", "all zero")],
        nested={"point": Point(1.0), 7: None},
        error=OSError(28, "No space left on device"),
        is_good=True,
    )
    assert {key: value for key, value in parsed(stream)[0].items() if key not in {"timestamp", "level", "event"}} == {
        "seconds": 0.123,
        "never": None,
        "unknown": None,
        "colour": "red",
        "rank": 4,
        "words": ["a", "b"],
        "names": ["y", "z"],
        "raw": "\\xff!",
        "findings": [{"code": "zero-effect", "detail": "all zero"}],
        "nested": {"point": {"x": 1.0}, "7": None},
        "error": "[Errno 28] No space left on device",
        "is_good": True,
    }


def test_data_cannot_forge_the_head_of_a_line(stream: io.StringIO) -> None:
    emit(Event.FILE_DETECTED, event="x", timestamp="y", self=1, method_name=2)
    (line,) = parsed(stream)
    assert line["event"] == "file.detected"
    assert line["timestamp"] != "y"
    assert (line["self"], line["method_name"]) == (1, 2)


def test_each_event_has_its_own_level_and_a_caller_may_choose_another(stream: io.StringIO) -> None:
    for event in Event:
        emit(event)
    emit(Event.DELIVERY_FAILED, level="debug")
    emit(Event.DELIVERY_FAILED, level=None)
    emit(Event.DELIVERY_FAILED, level="nonsense")
    assert [line["level"] for line in parsed(stream)] == [*LEVELS.values(), "debug", "error", "error"]


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        ("debug", ["debug", "info", "warning", "error"]),
        ("info", ["info", "warning", "error"]),
        ("warning", ["warning", "error"]),
        ("error", ["error"]),
    ],
)
def test_what_is_below_the_level_is_not_written(level: Any, expected: list[str]) -> None:
    stream = io.StringIO()
    events.configure(format="json", level=level, environ={}, stream=stream)
    for each in ("debug", "info", "warning", "error"):
        emit(Event.SCAN_FINISHED, level=each)
    assert [line["level"] for line in parsed(stream)] == expected


@given(event=st.sampled_from(list(Event)), data=st.dictionaries(st.text(min_size=1), ANY_VALUE, max_size=5))
@settings(max_examples=300, deadline=None, database=None)
def test_no_value_can_break_a_line(event: Event, data: dict[str, object]) -> None:
    stream = io.StringIO()
    events.configure(format="json", level="debug", environ={}, stream=stream)
    emit(event, **data)
    lines = stream.getvalue().split("\n")
    assert len(lines) == 2
    assert strictly(lines[0])["event"] == event.value


def test_reconfiguring_loses_no_event_of_another_thread(stream: io.StringIO, tmp_path: Path) -> None:
    streams = [io.StringIO() for _ in range(20)]
    log = tmp_path / "log"
    events.configure(format="json", level="debug", environ={}, stream=stream, file=str(log))

    def talk() -> None:
        for number in range(500):
            emit(Event.DELIVERY_PROGRESS, delivery_id=number)

    threads = [threading.Thread(target=talk) for _ in range(2)]
    for thread in threads:
        thread.start()
    for each in streams:
        events.configure(format="json", level="debug", environ={}, stream=each, file=str(log))
    for thread in threads:
        thread.join()
    assert sum(len(parsed(each)) for each in (stream, *streams)) == 1000
    assert len(log.read_text(encoding="utf-8").splitlines()) == 1000


def test_threads_do_not_mix_their_lines(stream: io.StringIO) -> None:
    def talk(number: int) -> None:
        for _ in range(200):
            emit(Event.FILE_DETECTED, file=f"{number}" * 300)

    threads = [threading.Thread(target=talk, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = parsed(stream)
    assert len(lines) == 800
    assert {line["file"] for line in lines} == {f"{number}" * 300 for number in range(4)}


def test_a_stream_of_another_encoding_gets_ascii_json() -> None:
    stream = Latin1()
    events.configure(format="json", level="info", environ={}, stream=stream)
    emit(Event.FILE_DETECTED, file="猫")
    assert strictly(stream.text())["file"] == "猫"


def console(stream: io.TextIOBase, **environ: str) -> None:
    events.configure(format="console", level="debug", environ=environ, stream=stream)  # type: ignore[arg-type]  # a TextIO in all but name


def test_a_delivery_is_told_at_a_glance() -> None:
    stream = io.StringIO()
    console(stream)
    emit(
        Event.DELIVERY_DELIVERED,
        file="/out/cat_v2.safetensors",
        destination="comfyui",
        remote_name="cat_v2.safetensors",
        size_bytes=151_000_000,
        seconds=0.14,
        evidence="sha256",
    )
    clock, line = stream.getvalue().split("  ", 1)
    assert dt.time.fromisoformat(clock).microsecond == 0
    assert line == "✓ delivered   cat_v2.safetensors → comfyui (151 MB in 0.14 s, sha256)\n"


def test_a_terminal_gets_colours_by_level_and_nobody_else_does() -> None:
    terminal, pipe, quiet, dumb = Terminal(), io.StringIO(), Terminal(), Terminal()
    for stream, environ in ((terminal, {}), (pipe, {}), (quiet, {"NO_COLOR": "1"}), (dumb, {"TERM": "dumb"})):
        console(stream, **environ)
        emit(Event.DELIVERY_FAILED, file="x")
    assert "\x1b[31m✗ failed" in terminal.getvalue()
    assert all("\x1b" not in stream.getvalue() for stream in (pipe, quiet, dumb))


def test_a_console_of_another_encoding_gets_ascii_marks() -> None:
    stream = Latin1()
    console(stream)
    emit(Event.DELIVERY_DELIVERED, file="猫é.safetensors", destination="comfyui")
    emit(Event.DELIVERY_FAILED, file="x", destination="comfyui")
    first, second = stream.text().splitlines()
    assert first.endswith("+ delivered   \\u732bé.safetensors -> comfyui")
    assert "x failed      x -> comfyui: " in second


def test_a_file_name_can_neither_move_the_cursor_nor_forge_a_line() -> None:
    stream = Terminal()
    console(stream, NO_COLOR="1")
    emit(Event.FILE_REJECTED, file="/out/a\x1b[2J\n12:00:00  ✓ delivered\u202e.safetensors", reason="one\n  two\n")
    first, *others = stream.getvalue().splitlines()
    assert first[10:].startswith("✗ rejected")
    assert all(line.startswith(" " * 24) for line in others)
    assert "\x1b" not in stream.getvalue()
    assert "\u202e" not in stream.getvalue()
    assert "one; two" in stream.getvalue()


@pytest.mark.parametrize(("stream", "is_json"), [(Terminal(), False), (io.StringIO(), True)])
def test_auto_is_a_console_on_a_terminal_and_json_elsewhere(stream: io.StringIO, is_json: bool) -> None:
    events.configure(format="auto", level="info", environ={"JOURNAL_STREAM": "1:2"}, stream=stream)
    emit(Event.DAEMON_READY)
    assert stream.getvalue().startswith("{") is is_json


def test_stdout_is_the_default_and_is_looked_up_late(capsys: pytest.CaptureFixture[str]) -> None:
    events.configure(format="json", level="info", environ={})
    emit(Event.DAEMON_READY)
    assert strictly(capsys.readouterr().out)["event"] == "daemon.ready"


def test_a_broken_stream_does_not_stop_the_work() -> None:
    class Broken(io.StringIO):
        def write(self, _: str) -> int:
            raise OSError(28, "No space left on device")

    class Gone(io.StringIO):
        def write(self, _: str) -> int:
            raise BrokenPipeError(32, "Broken pipe")

    closed = io.StringIO()
    closed.close()
    for stream in (Broken(), Gone(), closed):
        events.configure(format="json", level="info", environ={}, stream=stream)
        emit(Event.DAEMON_READY)
        emit(Event.DAEMON_READY)


class Counting(io.StringIO):
    """Counts how often it is flushed, which is what costs a system call, and keeps each piece that was written."""

    def __init__(self) -> None:
        super().__init__()
        self.flushes = 0
        self.pieces: list[str] = []

    def write(self, text: str) -> int:
        self.pieces.append(text)
        return super().write(text)

    def flush(self) -> None:
        self.flushes += 1
        super().flush()


def counted() -> Counting:
    stream = Counting()
    events.configure(format="json", level="info", environ={}, stream=stream)
    return stream


def test_what_is_said_together_is_written_at_once_and_everything_else_by_itself() -> None:
    stream = counted()
    emit(Event.DAEMON_READY)
    assert stream.flushes == 1
    with events.together():
        for number in range(5):
            emit(Event.FILE_DETECTED, file=f"{number}")
        assert stream.flushes == 1
    assert stream.flushes == 2
    emit(Event.DAEMON_READY)
    assert stream.flushes == 3
    assert [line.get("file") for line in parsed(stream)] == [None, "0", "1", "2", "3", "4", None]


def test_what_other_threads_say_does_not_wait_for_a_group() -> None:
    stream = counted()
    with events.together():
        emit(Event.FILE_DETECTED, file="mine")
        other = threading.Thread(target=lambda: emit(Event.FILE_DETECTED, file="other"))
        other.start()
        other.join()
        assert [line["file"] for line in parsed(stream)] == ["other"]
    assert [line["file"] for line in parsed(stream)] == ["other", "mine"]


def test_a_group_that_breaks_off_is_written_as_far_as_it_came() -> None:
    stream = counted()

    def break_off() -> None:
        with events.together():
            emit(Event.DAEMON_READY)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        break_off()
    assert len(parsed(stream)) == 1
    emit(Event.DAEMON_READY)
    assert len(parsed(stream)) == 2


def test_no_write_of_a_group_is_longer_than_a_pipe_takes_whole(tmp_path: Path) -> None:
    log = tmp_path / "log"
    stream = counted()
    events.configure(format="json", level="info", environ={}, stream=stream, file=str(log))
    with events.together():
        for number in range(100):
            emit(Event.FILE_DETECTED, file=f"{number}")
        emit(Event.FILE_DETECTED, file="x" * 5000)
    *pieces, long = stream.pieces
    assert 2 <= len(pieces) <= 4
    assert max(map(len, pieces)) <= select.PIPE_BUF
    assert len(long.splitlines()) == 1
    assert stream.getvalue() == log.read_text(encoding="utf-8")
    assert len(log.read_text(encoding="utf-8").splitlines()) == 101


def test_a_full_disk_tears_no_line_of_a_group(tmp_path: Path) -> None:
    script = """
import resource, signal, sys
from lorawatch import events
from lorawatch.events import Event, emit

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
stream = open(sys.argv[1], "w", encoding="utf-8")
events.configure(format="json", level="info", environ={}, stream=stream)
resource.setrlimit(resource.RLIMIT_FSIZE, (3000, resource.RLIM_INFINITY))
for _ in range(3):
    with events.together():
        for number in range(100):
            emit(Event.FILE_DETECTED, file=str(number))
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
emit(Event.DAEMON_READY)
"""
    log = tmp_path / "log"
    subprocess.run([sys.executable, "-c", script, str(log)], check=True, timeout=60)
    lines = [strictly(line) for line in log.read_text(encoding="utf-8").splitlines()]
    assert lines[-1]["event"] == "daemon.ready"
    assert 20 < len(lines) < 301
