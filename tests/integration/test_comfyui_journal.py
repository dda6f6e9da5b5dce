"""What the journal remembers for ComfyUI: recorded with the delivery, whatever happens in between."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from lorawatch.domain.comfyui import ListedFile, Queue
from lorawatch.domain.errors import ComfyUIDownError, JournalError
from lorawatch.domain.model import Delivery, Evidence, Receipt, RemoteFile
from lorawatch.domain.ports import Stop
from lorawatch.engine.arriving import record_arrival, record_departure
from lorawatch.engine.comfyui_checking import ListingCheck
from lorawatch.engine.settings import ComfyUILink, Route
from lorawatch.journal import listings
from lorawatch.journal.database import Database
from lorawatch.status_report import take
from tests.contract.test_directory_destination import open_directory
from tests.integration.test_journal import NOW, add, get, place

LATER = NOW + 10


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Database]:
    database = Database.open(str(tmp_path / "state"))
    yield database
    database.close()


@pytest.fixture
def route(journal: Database, tmp_path: Path) -> Route:
    return route_with(journal, tmp_path)


def route_with(journal: Database, tmp_path: Path, refresh: str = "idle") -> Route:
    with journal.write() as connection:
        number = place(connection)
    link = ComfyUILink("http://127.0.0.1:8188", threading.Event(), refresh=refresh)
    return Route(number, open_directory(str(tmp_path)), None, comfyui=link)


def leave(journal: Database, route: Route, delivery: Delivery, *, over: RemoteFile | None = None) -> None:
    with journal.write() as connection:
        record_departure(connection, route, [(delivery, over)])


def arrive(journal: Database, route: Route, delivery: Delivery, *, at: float = NOW, carried_bytes: int = 100) -> None:
    receipt = Receipt(
        delivery.delivery_id, delivery.remote_name, Evidence.SHA256, "print", carried_bytes, is_replacement=False,
        seconds=0.1,
    )  # fmt: skip
    with journal.write() as connection:
        record_arrival(connection, route, delivery, receipt, now=at)


def told(journal: Database, route: Route) -> list[str]:
    with journal.read() as connection:
        return [each.remote_name for each in listings.refreshes(connection, [route.destination_id])]


def due(journal: Database, route: Route, now: float = NOW) -> list[listings.Listing]:
    with journal.read() as connection:
        return listings.due(connection, [route.destination_id], now=now, limit=100)


def standing(name: str) -> RemoteFile:
    return RemoteFile(name, 100, "older")


def test_what_arrives_is_to_be_asked_for_and_nothing_new_needs_a_refresh(journal: Database, route: Route) -> None:
    delivery = get(journal, add(journal))
    leave(journal, route, delivery)
    arrive(journal, route, delivery)
    assert [(each.remote_name, each.state, each.asked) for each in due(journal, route)] == [("a", "unknown", 0)]
    assert told(journal, route) == []


def test_a_kill_between_the_rename_and_its_record_does_not_lose_the_refresh(journal: Database, route: Route) -> None:
    delivery = get(journal, add(journal))
    leave(journal, route, delivery, over=standing("a"))
    assert told(journal, route) == []  # it may not have got its name
    arrive(journal, route, delivery, carried_bytes=0)  # the next attempt finds the bytes in place: nothing is replaced
    assert told(journal, route) == ["a"]


def test_a_name_whose_file_was_removed_meanwhile_may_still_be_loaded(journal: Database, route: Route) -> None:
    first = get(journal, add(journal, sha256="1" * 64))
    leave(journal, route, first)
    arrive(journal, route, first)
    second = get(journal, add(journal, sha256="2" * 64))
    leave(journal, route, second)
    arrive(journal, route, second)
    assert told(journal, route) == ["a"]


def test_nothing_is_remembered_for_a_user_who_refreshes_by_hand(journal: Database, tmp_path: Path) -> None:
    route = route_with(journal, tmp_path, refresh="never")
    delivery = get(journal, add(journal))
    leave(journal, route, delivery, over=standing("a"))
    arrive(journal, route, delivery)
    assert told(journal, route) == []


def test_what_is_replaced_while_comfyui_is_told_is_told_again(journal: Database, route: Route) -> None:
    delivery = get(journal, add(journal))
    leave(journal, route, delivery, over=standing("a"))
    arrive(journal, route, delivery)
    with journal.read() as connection:
        pending = listings.refreshes(connection, [route.destination_id])
    arrive(journal, route, delivery, at=LATER)
    with journal.write() as connection:
        listings.refreshed(connection, pending)
        (left,) = listings.refreshes(connection, [route.destination_id])
        assert (left.first_at, left.latest_at) == (NOW, LATER)
        listings.refreshed(connection, [left])
    assert told(journal, route) == []


def test_an_answer_about_earlier_bytes_says_nothing_about_later_ones(journal: Database, route: Route) -> None:
    first = get(journal, add(journal, sha256="1" * 64))
    arrive(journal, route, first)
    (asked,) = due(journal, route)
    second = get(journal, add(journal, sha256="2" * 64))
    arrive(journal, route, second, at=LATER)
    with journal.write() as connection:
        listings.record(connection, asked, state="listed")
        listings.drop(connection, asked)
    (left,) = due(journal, route, LATER)
    assert (left.delivery_id, left.state) == (second.delivery_id, "unknown")


def test_what_comfyui_has_said_stands_while_something_else_is_wrong(journal: Database, route: Route) -> None:
    delivery = get(journal, add(journal))
    arrive(journal, route, delivery)
    ids = [route.destination_id]
    (asked,) = due(journal, route)
    with journal.write() as connection:
        listings.record(connection, asked, state="not-listed", code="comfyui-not-listed", reason="r", next_ask_at=NOW)
        listings.postpone(connection, ids, now=NOW, at=LATER, code="internal-error", reason="a bug")
        assert listings.due(connection, ids, now=NOW, limit=1) == []
        (later,) = listings.due(connection, ids, now=LATER, limit=1)
        assert (later.state, later.code) == ("not-listed", "comfyui-not-listed")
        listings.expect_soon(connection, ids, now=NOW)
        assert listings.next_due_at(connection, ids) == NOW


def test_a_comfyui_that_is_never_there_has_nothing_written_again(journal: Database, route: Route) -> None:
    ids = [route.destination_id]
    for name in ("cat", "dog"):
        arrive(journal, route, get(journal, add(journal, f"/out/{name}")))
    cat, _ = due(journal, route)
    with journal.write() as connection:
        listings.record(connection, cat, state="not-listed", code="comfyui-not-listed", reason="r", next_ask_at=NOW)
        before = connection.total_changes
        for now in (NOW, LATER):
            listings.leave_open(connection, ids, now=now, at=now + 1, code="comfyui-unreachable", reason="down")
        assert connection.total_changes == before + 1
        asked = {each.code: each.state for each in listings.due(connection, ids, now=NOW, limit=9)}
        assert asked == {"comfyui-not-listed": "not-listed", "comfyui-unreachable": "unknown"}
        assert listings.next_due_at(connection, ids) == NOW
        assert listings.next_due_at(connection, ids, after=NOW) is None
    arrive(journal, route, get(journal, add(journal, "/out/fox")), at=LATER)
    with journal.read() as connection:
        assert listings.next_due_at(connection, ids, after=NOW) == LATER  # what is new is asked for at once


class SlowComfyUI:
    """Lists every name, and takes a second to say of each whether it can be read; in the end it goes down."""

    def __init__(self, names: list[str], answers: int) -> None:
        self.names = names
        self.answers = answers
        self.now = NOW

    def listing(self, folder: str, *, stop: Stop) -> list[str] | None:
        return self.names

    def files(self, folder: str, *, stop: Stop) -> list[ListedFile] | None:
        return [ListedFile(name, 100) for name in self.names]

    def can_choose_lora(self, name: str, *, stop: Stop) -> bool | None:
        return None

    def can_read(self, folder: str, name: str, *, stop: Stop) -> bool:
        self.now += 1
        self.answers -= 1
        if self.answers < 0:
            raise ComfyUIDownError("it restarts")
        return True

    def queue(self, *, stop: Stop) -> Queue:
        return Queue(0, 0)

    def free(self, *, stop: Stop) -> None:
        pass


def check_of_slow(journal: Database, route: Route, *, count: int, answers: int) -> tuple[ListingCheck, SlowComfyUI]:
    names = [f"{number}.safetensors" for number in range(count)]
    for name in names:
        arrive(
            journal,
            route,
            get(
                journal,
                add(
                    journal,
                    path=f"/{name}",
                ),
            ),
        )
    comfyui = SlowComfyUI(names, answers)
    return ListingCheck([route], journal=journal, stop=threading.Event(), now=lambda: comfyui.now), comfyui


def test_what_comfyui_has_answered_stands_when_it_goes_down_in_the_middle(journal: Database, route: Route) -> None:
    check, comfyui = check_of_slow(journal, route, count=5, answers=3)
    with pytest.raises(ComfyUIDownError):
        check.tend(comfyui)
    assert len(due(journal, route, LATER)) == 2


def test_a_slow_comfyui_is_asked_for_the_latest_after_a_while(journal: Database, route: Route) -> None:
    check, comfyui = check_of_slow(journal, route, count=20, answers=20)
    assert check.tend(comfyui)
    assert comfyui.now - NOW < 10
    assert 5 < len(due(journal, route, NOW)) < 20


def test_the_status_of_an_older_journal_says_what_brings_it_up_to_date(journal: Database, tmp_path: Path) -> None:
    with journal.write() as connection:
        connection.execute("PRAGMA user_version = 4")
    with pytest.raises(JournalError) as raised:
        take(os.path.dirname(journal.path))
    assert "restart the daemon" in raised.value.fix
