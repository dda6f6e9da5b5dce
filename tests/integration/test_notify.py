"""What systemd hears, on a real socket."""

import os
import select
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lorawatch.notify import Notifier


@pytest.fixture
def ear(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.bind(str(tmp_path / "notify"))
        ear.settimeout(5)
        yield ear


@pytest.fixture
def notifier(ear: socket.socket) -> Notifier:
    return Notifier({"NOTIFY_SOCKET": ear.getsockname(), "WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(os.getpid())})


def heard(ear: socket.socket) -> dict[str, str]:
    return dict(line.split("=", 1) for line in ear.recv(65_536).decode().split("\n"))


def test_each_state_is_one_datagram(ear: socket.socket, notifier: Notifier) -> None:
    notifier.ready()
    notifier.status("watching 1 folder · 2 sending")
    notifier.watchdog()
    notifier.extend_timeout(2.5)
    notifier.stopping()
    assert [heard(ear) for _ in range(5)] == [
        {"READY": "1"},
        {"STATUS": "watching 1 folder · 2 sending"},
        {"WATCHDOG": "1"},
        {"EXTEND_TIMEOUT_USEC": "2500000"},
        {"STOPPING": "1"},
    ]


def test_a_reload_carries_the_monotonic_time_that_systemd_compares(ear: socket.socket, notifier: Notifier) -> None:
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    notifier.reloading()
    message = heard(ear)
    assert message["RELOADING"] == "1"
    assert before <= int(message["MONOTONIC_USEC"]) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000


def test_an_abstract_socket_is_reached_as_well() -> None:
    name = f"lorawatch-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.bind(f"\0{name}")
        ear.settimeout(5)
        Notifier({"NOTIFY_SOCKET": f"@{name}"}).ready()
        assert heard(ear) == {"READY": "1"}


def test_the_same_status_is_sent_once_and_stays_one_short_line(ear: socket.socket, notifier: Notifier) -> None:
    notifier.status("a\udcff\nREADY=1")
    notifier.status("a\udcff\nREADY=1")
    notifier.status("x" * 100_000)
    assert heard(ear) == {"STATUS": "a\\udcff READY=1"}
    assert set(heard(ear)["STATUS"]) == {"x"}


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"WATCHDOG_USEC": "3000000"}, 1.5),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(os.getpid())}, 1.5),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "often"}, None),
        ({}, None),
    ],
)
def test_the_watchdog_is_fed_twice_as_often_as_the_unit_asks(environ: dict[str, str], expected: float | None) -> None:
    assert Notifier({"NOTIFY_SOCKET": "/run/x", **environ}).watchdog_interval_seconds == expected


def test_nobody_is_pinged_where_the_unit_has_no_watchdog(ear: socket.socket) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": ear.getsockname()})
    notifier.watchdog()
    notifier.ready()
    assert heard(ear) == {"READY": "1"}


@pytest.mark.parametrize("address", ["", "vsock:2:1234", "relative", "/nowhere/at/all", "/" + "x" * 200])
def test_without_a_socket_nothing_happens(address: str) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "1"})
    notifier.ready()
    notifier.status("x")
    notifier.watchdog()
    notifier.reloading()
    notifier.stopping()


def test_a_full_queue_neither_blocks_nor_loses_ready(ear: socket.socket, notifier: Notifier) -> None:
    received = 0
    while not notifier._unsent:
        notifier.watchdog()
    notifier.reloading()
    notifier.ready()
    while ear in select.select([ear], [], [], 0)[0]:
        assert heard(ear) == {"WATCHDOG": "1"}
        received += 1
    assert received > 0
    notifier.status("again")
    last = heard(ear)
    assert last["READY"] == "1"
    assert last["STATUS"] == "again"
    assert "RELOADING" not in last
    assert not notifier._unsent


def test_a_manager_that_restarts_is_found_again(ear: socket.socket, notifier: Notifier, tmp_path: Path) -> None:
    notifier.status("one")
    assert heard(ear) == {"STATUS": "one"}
    (tmp_path / "notify").unlink()
    notifier.ready()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as fresh:
        fresh.bind(str(tmp_path / "notify"))
        fresh.settimeout(5)
        notifier.watchdog()
        assert heard(fresh) == {"READY": "1", "WATCHDOG": "1"}
