"""The console: sentences are broken to the terminal's width, advice is said once, a pipe gets one line for each."""

import io
import os

import pytest

from lorawatch.event_console import ConsoleRenderer
from lorawatch.event_names import LEVELS, Event
from lorawatch.event_record import Record

ROUTE = {"destination": "comfyui", "remote_name": "cat.safetensors"}


class Stream(io.StringIO):
    encoding = "utf-8"

    def __init__(self, *, is_terminal: bool) -> None:
        super().__init__()
        self._is_terminal = is_terminal

    def isatty(self) -> bool:
        return self._is_terminal

    def fileno(self) -> int:
        return 1


def waiting(file: str, at: float = 0.0) -> Record:
    event = Event.DELIVERY_WAITING
    words = {"code": "disk-full", "reason": "no space is left on the disk of /comfyui/models/loras", "fix": "free some"}
    return Record(at, LEVELS[event], event, {"file": f"/out/{file}", **ROUTE, **words, "retry_in_seconds": 30})


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "get_terminal_size", lambda _: os.terminal_size((80, 24)))


@pytest.mark.usefixtures("narrow")
def test_a_sentence_is_broken_below_its_own_beginning_and_what_to_do_stands_below_it() -> None:
    rows = ConsoleRenderer(Stream(is_terminal=True), is_coloured=False)(waiting("cat.safetensors")).split("\n")
    assert len(rows) == 3
    assert max(map(len, rows)) <= 80
    assert rows[0][10:].startswith("! waiting     cat.safetensors → comfyui: no space is left")
    assert rows[1].startswith(" " * 24 + rows[1].strip()[:1])
    assert rows[2] == " " * 24 + "→ free some"


@pytest.mark.usefixtures("narrow")
def test_what_to_do_is_said_once_a_minute() -> None:
    render = ConsoleRenderer(Stream(is_terminal=True), is_coloured=False)
    told = [render(waiting(f"{number}.safetensors", at=at)) for number, at in enumerate((0.0, 1.0, 59.0, 61.0))]
    assert ["→ free some" in each for each in told] == [True, False, False, True]


@pytest.mark.usefixtures("narrow")
def test_what_to_do_about_many_files_is_said_once_although_it_names_the_first() -> None:
    render = ConsoleRenderer(Stream(is_terminal=True), is_coloured=False)
    event = Event.FILE_REJECTED
    data = ({"file": f"/out/{number}", "code": "not-safetensors", "reason": "r"} for number in range(3))
    told = [render(Record(0.0, LEVELS[event], event, each)) for each in data]
    assert ["→ See what" in each for each in told] == [True, False, False]
    assert "`file /out/0`" in told[0]


@pytest.mark.usefixtures("narrow")
def test_a_number_stays_beside_its_unit() -> None:
    render = ConsoleRenderer(Stream(is_terminal=True), is_coloured=False)
    for length in range(1, 60):
        event = Event.DELIVERY_STARTED
        told = render(Record(0.0, LEVELS[event], event, {"file": "x" * length, **ROUTE, "size_bytes": 4_720_000}))
        assert "4.72 MB)" in told
        assert "\u00a0" not in told


def test_a_pipe_gets_one_line_for_each_event_with_all_of_it() -> None:
    render = ConsoleRenderer(Stream(is_terminal=False), is_coloured=False)
    for _ in range(2):
        line = render(waiting("cat.safetensors"))
        assert "\n" not in line
        assert line.endswith("(disk-full), again in 30 s. To do: free some")


@pytest.mark.usefixtures("narrow")
def test_colours_follow_the_level() -> None:
    render = ConsoleRenderer(Stream(is_terminal=True), is_coloured=True)
    colours = {
        Event.DELIVERY_WAITING: "\x1b[33m!",
        Event.DELIVERY_FAILED: "\x1b[31m✗",
        Event.DELIVERY_DELIVERED: "\x1b[32m✓",
    }
    for event, colour in colours.items():
        assert colour in render(Record(0.0, LEVELS[event], event, {**ROUTE, "code": "x"}))
    assert "\x1b" not in render(Record(0.0, "info", Event.DELIVERY_PLANNED, {**ROUTE}))


def test_a_long_path_loses_its_first_directories() -> None:
    event = Event.FILE_REJECTED
    path = f"/mnt/{'very_long_directory_name/' * 4}job/bad.safetensors"
    record = Record(0.0, LEVELS[event], event, {"file": path, "code": "html-page", "reason": "a web page"})
    line = ConsoleRenderer(Stream(is_terminal=False), is_coloured=False)(record)
    assert "…/very_long_directory_name/job/bad.safetensors: a web page (html-page)" in line
