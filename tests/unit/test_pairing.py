"""The halves of a Wan 2.2 LoRA find each other by their names, and a half alone is told of once, in time."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from lorawatch.domain.model import Candidate, Facts, Version
from lorawatch.domain.pairing import half_of, other_half_of, pair_id_at
from lorawatch.domain.settle import Moment
from lorawatch.engine import announcing
from lorawatch.engine.pairing import LOOK_SECONDS, PATIENCE_SECONDS, PairWatch
from lorawatch.engine.recording import Accepted, record_accepted
from lorawatch.engine.settings import IntakeSettings
from lorawatch.engine.tracking import Tracker
from lorawatch.events import Event
from lorawatch.journal.database import Database

ROOT = "/out"


@pytest.mark.parametrize(
    ("high", "low"),
    [
        ("cat_000000250_high_noise", "cat_000000250_low_noise"),
        ("cat_high_noise", "cat_low_noise"),
        ("wan2.2_HighNoise_v1", "wan2.2_LowNoise_v1"),
        ("high-noise-cat", "low-noise-cat"),
        ("cat\udcff_high_noise", "cat\udcff_low_noise"),
    ],
)
def test_the_halves_of_a_pair_have_one_id(high: str, low: str) -> None:
    assert (half_of(high), half_of(low)) == ("high", "low")
    assert pair_id_at(f"/out/cat/{high}.safetensors") == pair_id_at(f"/out/cat/{low}.safetensors") is not None
    assert other_half_of(f"/out/cat/{high}.safetensors") == f"/out/cat/{low}.safetensors"
    assert other_half_of(f"/out/cat/{low}.safetensors") == f"/out/cat/{high}.safetensors"


@pytest.mark.parametrize(
    "other",
    [
        "/out/cat/cat_000000500_high_noise.safetensors",
        "/out/cat/cat_high_noise.safetensors",
        "/out/dog/cat_000000250_high_noise.safetensors",
        "/out/cat/dog_000000250_high_noise.safetensors",
    ],
)
def test_another_step_run_or_name_is_another_pair(other: str) -> None:
    assert pair_id_at(other) not in {None, pair_id_at("/out/cat/cat_000000250_high_noise.safetensors")}


@pytest.mark.parametrize("stem", ["cat", "highnoisecat", "high", "cat_noise", "cat_highest_noise"])
def test_what_only_resembles_a_half_is_none(stem: str) -> None:
    assert half_of(stem) is None
    assert pair_id_at(f"/out/{stem}.safetensors") is None
    assert other_half_of(f"/out/{stem}.safetensors") is None


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Database]:
    database = Database.open(str(tmp_path))
    yield database
    database.close()


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Event, dict[str, object]]]:
    events: list[tuple[Event, dict[str, object]]] = []
    monkeypatch.setattr(announcing, "emit", lambda event, **data: events.append((event, data)))
    return events


def accept(journal: Database, name: str, *, at: float) -> None:
    candidate = Candidate(ROOT, f"{ROOT}/cat/{name}.safetensors", Version(1, 2, 3), 4)
    facts = Facts(kind="lora", family="wan_2.2_14b", pair=half_of(name))
    with journal.write() as connection:
        record_accepted(connection, Accepted(candidate, name, facts), [], IntakeSettings(), now=at)


def look(watch: PairWatch, clock: Clock, *, after: float, pending: Sequence[str] = ()) -> None:
    clock.now += after
    tracker = Tracker()
    for path in pending:
        tracker.see(Candidate(ROOT, path, Version(1, 2, 3), 4), Moment(wall=clock.now, monotonic=time.monotonic()))
    watch.look(tracker)


def test_a_half_alone_is_told_of_after_ten_minutes_and_once_also_across_restarts(
    journal: Database, told: list[tuple[Event, dict[str, object]]]
) -> None:
    clock = Clock()
    watch = PairWatch(ROOT, journal=journal, now=clock)
    accept(journal, "cat_high_noise", at=clock.now)
    look(watch, clock, after=PATIENCE_SECONDS - 1)
    assert told == []
    look(watch, clock, after=LOOK_SECONDS)
    (event, data), *more = told
    assert (event, data["code"], data["pair"], more) == (Event.PAIR_INCOMPLETE, "pair-incomplete", "high", [])
    assert data["pair_id"] == pair_id_at("/out/cat/cat_low_noise.safetensors")
    look(watch, clock, after=PATIENCE_SECONDS)
    look(PairWatch(ROOT, journal=journal, now=clock), clock, after=1)
    assert len(told) == 1


def test_two_halves_are_a_pair_in_whichever_order_and_version_they_come(
    journal: Database, told: list[tuple[Event, dict[str, object]]]
) -> None:
    clock = Clock()
    watch = PairWatch(ROOT, journal=journal, now=clock)
    accept(journal, "cat_low_noise", at=clock.now)
    look(watch, clock, after=PATIENCE_SECONDS - 1)
    accept(journal, "cat_high_noise", at=clock.now)
    accept(journal, "cat_low_noise", at=clock.now + 1)
    look(watch, clock, after=2 * PATIENCE_SECONDS)
    assert told == []
    with journal.read() as connection:
        rows = connection.execute("SELECT pair_id, high_artifact_id, low_artifact_id FROM pair").fetchall()
    assert rows == [(pair_id_at("/out/cat/cat_low_noise.safetensors"), 2, 3)]


def test_a_half_is_not_alone_while_the_other_one_is_pending_nor_told_of_by_another_root(
    journal: Database, told: list[tuple[Event, dict[str, object]]]
) -> None:
    clock = Clock()
    accept(journal, "cat_high_noise", at=clock.now)
    look(PairWatch("/elsewhere", journal=journal, now=clock), clock, after=2 * PATIENCE_SECONDS)
    watch = PairWatch(ROOT, journal=journal, now=clock)
    look(watch, clock, after=0, pending=["/out/cat/cat_low_noise.safetensors"])
    assert told == []
    look(watch, clock, after=LOOK_SECONDS, pending=["/out/cat/dog_low_noise.safetensors"])
    assert len(told) == 1


def test_the_clock_may_be_set_back(journal: Database, told: list[tuple[Event, dict[str, object]]]) -> None:
    clock = Clock()
    watch = PairWatch(ROOT, journal=journal, now=clock)
    look(watch, clock, after=10_000_000)
    clock.now = 1_000_000.0
    accept(journal, "cat_high_noise", at=clock.now)
    look(watch, clock, after=PATIENCE_SECONDS)
    assert len(told) == 1
