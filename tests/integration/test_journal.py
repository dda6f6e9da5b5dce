"""The journal on a real SQLite file: what is recorded is found again, claims are exclusive, a verdict is told once."""

import os
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from lorawatch.domain.errors import JournalError
from lorawatch.domain.model import Artifact, Delivery, DeliveryState, Evidence, Facts, Finding, Receipt, Version
from lorawatch.domain.planning import series_of, step_of
from lorawatch.domain.policy import Outcome
from lorawatch.journal import deliveries, files, places, upkeep, views
from lorawatch.journal.database import Database
from lorawatch.journal.rows import Connection

NOW = 1_800_000_000.0
LEASE_SECONDS = 60.0
NO_LIMIT = 1 << 62
OWNER = "daemon-1:lane"


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Database]:
    database = Database.open(str(tmp_path / "state"))
    yield database
    database.close()


def add(
    journal: Database,
    path: str = "/out/a",
    *,
    size_bytes: int = 100,
    sha256: str = "a" * 64,
    is_backlog: bool = False,
    keep_latest: int | None = None,
    is_current: bool = True,
) -> int:
    """Record an accepted file and a delivery of it; return the delivery's number."""
    version = Version(1, size_bytes, 1)
    with journal.write() as connection:
        new = files.NewArtifact("/out", path, version, sha256, Facts(), is_backlog=is_backlog)
        artifact = files.add_artifact(connection, new, now=NOW)
        if is_current:
            record = files.FileRecord("/out", path, version, "accepted", "key", artifact_id=artifact.artifact_id)
            files.record(connection, [record], now=NOW)
        name = os.path.basename(path)
        number = deliveries.plan(connection, plan_of(connection, artifact, name, keep_latest), now=NOW)
    assert number is not None
    return number


def plan_of(connection: Connection, artifact: Artifact, name: str, keep_latest: int | None) -> deliveries.Plan:
    destination = place(connection)
    path = artifact.path
    return deliveries.Plan(artifact, destination, name, name, series_of(path), step_of(path), keep_latest)


def place(connection: Connection) -> int:
    return places.register_destination(connection, name="comfyui", location="/loras", kind="directory", now=NOW)


def claim(
    journal: Database, *, now: float = NOW, owner: str = OWNER, limit: int = 64, below: int = NO_LIMIT
) -> list[Delivery]:
    with journal.write() as connection:
        numbers = deliveries.due(connection, place(connection), now=now, owner=owner, limit=limit, below=below)
        return deliveries.claim(connection, numbers, now=now, lease_seconds=LEASE_SECONDS, owner=owner)


def get(journal: Database, number: int) -> Delivery:
    with journal.read() as connection:
        (found,) = deliveries.get(connection, [number])
        return found


def arrive(journal: Database, delivery: Delivery, *, carried_bytes: int = 100, fingerprint: str = "print") -> None:
    with journal.write() as connection:
        name, artifact = delivery.remote_name, delivery.artifact
        receipt = Receipt(
            delivery.delivery_id, name, Evidence.SHA256, fingerprint, carried_bytes, is_replacement=False, seconds=0.1
        )
        deliveries.record_receipt(connection, delivery, receipt, now=NOW)
        places.record_placement(
            connection, place(connection), remote_name=name, path=artifact.path, base_name=name,
            sha256=artifact.sha256, fingerprint=fingerprint, now=NOW,
        )  # fmt: skip


def test_whatever_a_file_system_holds_is_stored_and_found_again(journal: Database) -> None:
    path = os.fsdecode(b"/out/caf\xe9/new\nline \xf0\x9f\x90\x88_5.safetensors")
    version = Version(inode=(1 << 64) - 2, size_bytes=(1 << 62), mtime_ns=-(10**18))
    facts = Facts(
        kind="lora", rank=16, alpha=8.0, trigger_words=("caf\udce9", "b"), findings=(Finding("code", "detail"),)
    )
    with journal.write() as connection:
        new = files.NewArtifact(os.fsdecode(b"/o\xff"), path, version, "f" * 64, facts, is_backlog=True)
        artifact = files.add_artifact(connection, new, now=NOW)
        record = files.FileRecord("/out", path, version, "accepted", "key", artifact_id=artifact.artifact_id)
        files.record(connection, [record], now=NOW)
    with journal.read() as connection:
        assert files.artifact(connection, artifact.artifact_id) == artifact
        directory, name = os.path.split(path)
        assert files.known(connection, directory, [name])[name].version == version
        assert artifact.facts == facts


@pytest.mark.parametrize("is_fetched_at_once", [True, False])
def test_of_a_directory_s_entries_those_are_left_that_need_a_look(
    journal: Database, monkeypatch: pytest.MonkeyPatch, is_fetched_at_once: bool
) -> None:
    if not is_fetched_at_once:
        monkeypatch.setattr(files, "MOST_FETCHED", 1)
    huge = Version(inode=(1 << 64) - 2, size_bytes=5, mtime_ns=-1)
    names = {b"caf\xe9": "ignored", b"old rules": "rejected", b"waits": "settling", b"skipped": "skipped"}
    records = [
        files.FileRecord(
            "/out", os.path.join("/out", os.fsdecode(name)), huge, state, "old" if b"old" in name else "key"
        )
        for name, state in names.items()
    ]
    with journal.write() as connection:
        files.record(connection, records, now=NOW)
    with journal.read() as connection:
        settled = files.Settled(connection, verdict_key="key")
        same = {(name, huge.inode, 5, -1) for name in (*names, b"new")}
        assert {name for name, *_ in settled.left_of("/out", same)} == {b"old rules", b"waits", b"new"}
        assert not settled.left_of("/out", {(b"skipped", huge.inode, 5, -1)})
        changed = (b"skipped", huge.inode, 6, -1)
        assert list(settled.left_of("/out", {changed})) == [changed]
        assert list(settled.left_of("/elsewhere", {changed})) == [changed]


def test_what_is_new_goes_before_the_backlog_and_the_newest_first(journal: Database) -> None:
    old = [add(journal, f"/out/old{number}", is_backlog=True, size_bytes=50 << 20) for number in range(2)]
    new = [add(journal, f"/out/new{number}", size_bytes=50 << 20) for number in range(2)]
    order = [claim(journal)[0].delivery_id for _ in range(4)]
    assert order == [new[1], new[0], old[1], old[0]]
    assert claim(journal) == []


def test_small_deliveries_are_claimed_as_a_group_and_large_ones_alone(journal: Database) -> None:
    small = [add(journal, f"/out/small{number}", size_bytes=1 << 20) for number in range(70)]
    large = add(journal, "/out/large", size_bytes=1 << 30)
    assert claim(journal, below=1 << 20) == []
    assert [each.delivery_id for each in claim(journal)] == [large]
    assert [each.delivery_id for each in claim(journal)] == small[:5:-1]  # 64 at most
    assert [each.delivery_id for each in claim(journal)] == small[5::-1]


def test_a_delivery_is_claimed_by_one_of_many_threads(journal: Database) -> None:
    numbers = {add(journal, f"/out/f{number}", size_bytes=1 << 30) for number in range(40)}
    claimed: list[int] = []

    def work(label: int) -> None:
        while group := claim(journal, owner=f"daemon-1:{label}"):
            claimed.extend(each.delivery_id for each in group)

    threads = [threading.Thread(target=work, args=(label,)) for label in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(claimed) == 40
    assert set(claimed) == numbers


def test_a_claim_of_a_dead_process_runs_out_but_one_of_this_process_never(journal: Database) -> None:
    number = add(journal)
    assert len(claim(journal, owner="send-9:1")) == 1
    assert claim(journal, now=NOW + LEASE_SECONDS - 1) == []
    assert [each.delivery_id for each in claim(journal, now=NOW + LEASE_SECONDS + 1)] == [number]
    assert claim(journal, now=NOW + 10 * LEASE_SECONDS, owner="daemon-1:other") == []
    with journal.write() as connection:
        assert upkeep.release(connection, owner_prefix="daemon-1", now=NOW) == 1
    assert get(journal, number).state is DeliveryState.WAITING
    assert get(journal, number).attempt == 2


def test_what_waits_is_due_at_its_time_and_all_of_it_when_the_destination_is_up(journal: Database) -> None:
    numbers = [add(journal, f"/out/f{number}") for number in range(3)]
    claim(journal)
    with journal.write() as connection:
        for number in numbers:
            outcome = Outcome(DeliveryState.WAITING, "low-disk-space", "full", NOW + 100 * number)
            deliveries.record_outcome(connection, number, outcome, now=NOW)
        soonest = deliveries.next_due_at(connection, place(connection), owner=OWNER, below=NO_LIMIT)
    assert soonest == NOW + 100 * numbers[0]
    assert claim(journal, now=NOW + 1) == []
    assert [each.delivery_id for each in claim(journal, now=soonest)] == [numbers[0]]
    with journal.write() as connection:
        upkeep.expect_not_before(connection, place(connection), at=NOW + 100 * numbers[2])
        upkeep.expect_soon(connection, place(connection), now=NOW)
    assert len(claim(journal)) == 2


def test_planned_deliveries_to_a_destination_that_is_down_wait_with_its_reason(journal: Database) -> None:
    number = add(journal)
    outcome = Outcome(DeliveryState.WAITING, "destination-missing", "it is not there", NOW + 5)
    with journal.write() as connection:
        assert upkeep.hold_planned(connection, place(connection), outcome, now=NOW) == [number]
        assert upkeep.hold_planned(connection, place(connection), outcome, now=NOW) == []
    held = get(journal, number)
    assert (held.state, held.code, held.reason) == (DeliveryState.WAITING, "destination-missing", "it is not there")
    assert (held.next_attempt_at, held.attempt) == (NOW + 5, 0)


@pytest.mark.parametrize("state", ["failed", "delivered", "cancelled", "waiting"])
def test_retry_puts_a_delivery_back_as_if_it_had_never_been_tried(journal: Database, state: str) -> None:
    number = add(journal)
    (claimed,) = claim(journal)
    with journal.write() as connection:
        if state == "delivered":
            receipt = Receipt(number, "a", Evidence.SHA256, "print", 100, is_replacement=False, seconds=1)
            deliveries.record_receipt(connection, claimed, receipt, now=NOW)
        else:
            outcome = Outcome(DeliveryState(state), "code", "reason", NOW + 99 if state == "waiting" else None)
            deliveries.record_outcome(connection, number, outcome, now=NOW)
        everything = upkeep.retry(connection, None, now=NOW)
        assert everything == ([number] if state in {"failed", "waiting"} else [])
        assert upkeep.retry(connection, [number, 999], now=NOW) == [number]
    back = get(journal, number)
    assert (back.state, back.attempt, back.code, back.next_attempt_at) == (DeliveryState.PLANNED, 0, None, None)


def test_retry_leaves_alone_what_is_being_sent(journal: Database) -> None:
    number = add(journal)
    claim(journal)
    with journal.write() as connection:
        assert upkeep.retry(connection, [number], now=NOW) == []


def test_bytes_count_as_sent_from_the_moment_before_they_get_their_name(journal: Database) -> None:
    number = add(journal)

    def was_sent() -> bool:
        with journal.read() as connection:
            return places.was_sent(connection, 1, remote_name="a", path="/out/a", sha256="a" * 64)

    def record_sent() -> None:
        with journal.write() as connection:
            deliveries.record_sent(connection, [number])

    def fail(code: str) -> None:
        with journal.write() as connection:
            deliveries.record_outcome(connection, number, Outcome(DeliveryState.WAITING, code, "x", NOW), now=NOW)

    claim(journal)
    fail("low-disk-space")
    (claimed,) = claim(journal)
    assert not was_sent()  # attempts were made, and none came so far
    arrive(journal, claimed, carried_bytes=0)
    assert not was_sent()  # the bytes were there: somebody else put them there
    with journal.write() as connection:
        upkeep.retry(connection, [number], now=NOW)
    (claimed,) = claim(journal)
    record_sent()
    fail("name-taken")
    assert not was_sent()  # somebody was faster
    (claimed,) = claim(journal)
    record_sent()
    assert was_sent()  # killed here, nobody knows whether they got it
    arrive(journal, claimed, carried_bytes=100)
    with journal.write() as connection:
        upkeep.retry(connection, [number], now=NOW)
    (claimed,) = claim(journal)
    arrive(journal, claimed, carried_bytes=0)
    assert was_sent()  # what a retry finds in its place was carried before
    with journal.write() as connection:
        deliveries.rename(connection, number, "b")
        deliveries.rename(connection, number, "a")
    assert not was_sent()  # another name is another place


def test_what_is_due_is_found_without_reading_what_was_ever_delivered(journal: Database) -> None:
    add(journal)
    asked: list[str] = []
    with journal.write() as connection:
        connection.set_trace_callback(asked.append)
        deliveries.next_due_at(connection, place(connection), owner=OWNER, below=NO_LIMIT)
        deliveries.due(connection, 1, now=NOW, owner=OWNER, limit=64, below=NO_LIMIT)
        connection.set_trace_callback(None)
        due = [each for each in asked if "FROM delivery" in each and "lease_owner NOT LIKE" in each]
        plans = [connection.execute(f"EXPLAIN QUERY PLAN {each}").fetchall() for each in due]
    assert len(plans) == 2
    for plan in plans:
        assert [step[3] for step in plan] == ["SEARCH delivery USING INDEX delivery_due (destination_id=?)"]


def test_what_has_waited_too_long_for_a_destination_that_is_down_is_given_up(journal: Database) -> None:
    old, lost, young = (add(journal, f"/out/{name}") for name in ("old", "lost", "young"))
    waits = Outcome(DeliveryState.WAITING, "destination-missing", "x", NOW + 5)
    fails = Outcome(DeliveryState.FAILED, "gave-up", "x")

    def give_up(now: float) -> list[int]:
        with journal.write() as connection:
            return deliveries.give_up(connection, place(connection), fails, failing_before=now - 60, now=now)

    claim(journal)
    with journal.write() as connection:
        upkeep.release(connection, owner_prefix=OWNER, now=NOW)  # its process died: `lost` has never been said to fail
        deliveries.record_outcome(connection, young, waits, now=NOW)
    assert get(journal, young).state is DeliveryState.WAITING
    with journal.write() as connection:
        connection.execute("UPDATE delivery SET failing_since_ms = ? WHERE delivery_id = ?", ((NOW - 60) * 1000, old))
        connection.execute("UPDATE delivery SET failing_since_ms = ? WHERE delivery_id = ?", (NOW * 1000, young))
    assert give_up(NOW) == [old]
    assert give_up(NOW + 59) == []
    assert give_up(NOW + 60) == [lost, young]
    assert {get(journal, number).code for number in (old, lost, young)} == {"gave-up"}


def test_a_replacement_displaces_other_paths_that_shared_the_name(journal: Database) -> None:
    numbers = [add(journal, path) for path in ("/out/one/a", "/out/two/a", "/out/three/b")]
    superseded = add(journal, "/out/four/a", is_current=False)
    for delivery in claim(journal):
        arrive(journal, delivery)
    with journal.write() as connection:
        upkeep.displace(connection, place(connection), remote_name="a", path="/out/one/a", sha256="b" * 64, now=NOW)
    states = [get(journal, number).state.value for number in (*numbers, superseded)]
    assert states == ["delivered", "planned", "delivered", "delivered"]


def test_what_is_accepted_now_is_given_oldest_first_however_much_it_is(journal: Database) -> None:
    paths = [f"/out/{number * 7 % 10}/{number}" for number in range(1203)]
    numbers = []
    with journal.write() as connection:
        for path in paths:
            new = files.NewArtifact("/out", path, Version(1, 1, 1), "a" * 64, Facts(), is_backlog=False)
            numbers.append(files.add_artifact(connection, new, now=NOW).artifact_id)
            state = "skipped" if path.endswith("3") else "accepted"
            record = files.FileRecord("/out", path, Version(1, 1, 1), state, "key", artifact_id=numbers[-1])
            files.record(connection, [record], now=NOW)
    with journal.read() as connection:
        found = [(each.artifact_id, each.path) for each in files.current_artifacts(connection, "/out")]
        assert list(files.current_artifacts(connection, "/elsewhere")) == []
    assert found == [each for each in zip(numbers, paths, strict=True) if not each[1].endswith("3")]


def test_a_step_with_keep_latest_is_to_be_retired_after_until_that_is_finished(journal: Database) -> None:
    numbers = [add(journal, f"/out/cat_{step}", keep_latest=1) for step in (250, 500, 750)]
    with journal.read() as connection:
        assert upkeep.retiring(connection, 1) == []
    for delivery in claim(journal):
        arrive(journal, delivery)
    with journal.write() as connection:
        due = upkeep.retiring(connection, 1)
        assert [(each.delivery_id, each.step) for each in due] == list(zip(numbers, (250, 500, 750), strict=True))
        steps = upkeep.steps_of_series(connection, 1, "/out/cat", up_to=500, states=[DeliveryState.DELIVERED])
        assert steps == {numbers[0]: 250, numbers[1]: 500}
        upkeep.record_retired(connection, numbers[0], now=NOW)
        steps = upkeep.steps_of_series(connection, 1, "/out/cat", up_to=500, states=[DeliveryState.DELIVERED])
        assert steps == {numbers[1]: 500}
        for number in numbers:
            upkeep.finish_retiring(connection, number)
        assert upkeep.retiring(connection, 1) == []


def test_a_verdict_is_told_once_even_if_the_file_is_queued_again_in_between(journal: Database) -> None:
    version, other = Version(1, 2, 3), Version(1, 2, 4)

    def record(state: str, code: str | None, of: Version = version) -> None:
        with journal.write() as connection:
            files.record(connection, [files.FileRecord("/out", "/out/a", of, state, "key", code=code)], now=NOW)

    def was_told(state: str, code: str, of: Version = version) -> bool:
        with journal.read() as connection:
            return files.was_told(connection, "/out/a", of, state=state, code=code)

    assert not was_told("rejected", "html-page")
    record("rejected", "html-page")
    record("settling", None)
    assert was_told("rejected", "html-page")
    assert not was_told("rejected", "truncated")
    assert not was_told("rejected", "html-page", other)
    record("settling", None, other)
    assert not was_told("rejected", "html-page", other)
    record("incomplete", "truncated", other)
    record("settling", None, other)
    assert not was_told("rejected", "truncated", other)


def test_half_a_transaction_is_none(journal: Database) -> None:
    class PulledPlugError(Exception):
        pass

    number = add(journal)

    def cancel_and_stumble() -> None:
        with journal.write() as connection:
            upkeep.cancel(connection, [number], code="c", reason="r", now=NOW)
            raise PulledPlugError

    with pytest.raises(PulledPlugError):
        cancel_and_stumble()
    assert get(journal, number).state is DeliveryState.PLANNED


def test_what_a_lane_owns_cannot_be_cancelled(journal: Database) -> None:
    owned, free = add(journal, "/out/owned", size_bytes=1 << 30), None
    claim(journal)
    free = add(journal, "/out/free")
    with journal.write() as connection:
        cancelled = upkeep.cancel(connection, [owned, free], code="superseded", reason="r", now=NOW)
    assert [(each.delivery_id, each.code) for each in cancelled] == [(free, "superseded")]


def test_a_journal_can_be_read_beside_its_writer_and_creates_nothing_by_itself(tmp_path: Path) -> None:
    state = tmp_path / "state"
    assert Database.open_read_only(str(state)) is None
    assert not state.exists()
    writer = Database.open(str(state))
    try:
        add(writer)
        reader = Database.open_read_only(str(state))
        assert reader is not None
        with reader.read() as connection:
            assert views.counts(connection) == {"planned": 1}
        reader.close()
    finally:
        writer.close()
    assert sorted(path.name for path in state.iterdir()) == ["journal.sqlite3"]


def test_the_connections_of_threads_that_ended_are_closed(journal: Database) -> None:
    given = []
    for _ in range(3):
        thread = threading.Thread(target=lambda: given.append(journal.connection()))
        thread.start()
        thread.join()
    for ended in given[:-1]:
        with pytest.raises(sqlite3.ProgrammingError, match="closed"):
            ended.execute("SELECT 1")
    assert given[-1].execute("SELECT 1").fetchone() == (1,)  # until the next thread comes
    assert journal.connection().execute("SELECT 1").fetchone() == (1,)


def test_what_is_no_journal_is_refused_with_words_and_left_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "journal.sqlite3"
    file.write_bytes(b"this is no database, and was never one" * 100)
    with pytest.raises(JournalError) as caught:
        Database.open(str(tmp_path))
    assert str(file) in caught.value.message
    assert "move" in caught.value.fix
    assert file.read_bytes() == b"this is no database, and was never one" * 100


def test_another_process_that_writes_is_noticed(journal: Database, tmp_path: Path) -> None:
    before = journal.change_counter()
    assert journal.change_counter() == before
    other = Database.open(str(tmp_path / "state"))
    with other.write() as connection:
        place(connection)
    other.close()
    assert journal.change_counter() != before
